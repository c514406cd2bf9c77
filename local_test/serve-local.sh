#!/usr/bin/env bash
# Serve a model in the container under the limits of a strict platform: read-only, no privileges, one writable folder.
#
#   local_test/serve-local.sh [IMAGE] [MODEL]      default: bert-textclassification:serve local_test/test_dir/model
#   PORT=9000 local_test/serve-local.sh            another local port than 8080
set -euo pipefail
image=${1:-bert-textclassification:serve}
model=${2:-$(dirname "$0")/test_dir/model}

if [ ! -f "$model/manifest.json" ]; then
    echo "error: there is no model in $model; train one with local_test/train-local.sh, or name its folder." >&2
    exit 1
fi
model=$(cd "$model" && pwd)
exec docker run --rm --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges \
    --publish "127.0.0.1:${PORT:-8080}:8080" --volume "$model:/opt/ml/model:ro" "$image" serve
