#!/usr/bin/env bash
# Train in the container as SageMaker does, on a folder laid out like its /opt/ml; the model is written to its model/.
#
#   local_test/train-local.sh [IMAGE] [FOLDER]      default: bert-textclassification local_test/test_dir
set -euo pipefail
image=${1:-bert-textclassification}
folder=$(cd "${2:-$(dirname "$0")/test_dir}" && pwd)

# As the calling user, who then owns the outputs; SageMaker itself runs the job as root.
docker run --rm --user "$(id -u):$(id -g)" --env HOME=/tmp --volume "$folder:/opt/ml" "$image" train

if [ ! -f "$folder/model/manifest.json" ]; then
    echo "error: the job ended without a model in $folder/model; run it again to resume from its checkpoint." >&2
    exit 1
fi
echo "The model is in $folder/model; serve it with local_test/serve-local.sh."
