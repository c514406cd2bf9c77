#!/usr/bin/env bash
# Build the image of a Lambda function that has the model inside, from the serve image (`make image`).
#   ops/gateway/model_in_lambda/build.sh runs/demo/model text-classifier-lambda:1
# Push it to ECR in the function's region, and write its name in ops/config/gateway.yaml as `image`.
set -euo pipefail

model=${1:?"usage: build.sh MODEL_FOLDER TAG, as build.sh runs/demo/model text-classifier-lambda:1"}
tag=${2:?"usage: build.sh MODEL_FOLDER TAG, as build.sh runs/demo/model text-classifier-lambda:1"}
serve_image=${SERVE_IMAGE:-bert-textclassification:serve}
here=$(cd "$(dirname "$0")" && pwd)

if [ ! -f "$model/manifest.json" ]; then
    echo "error: $model is no model artifact: it has no manifest.json; give the folder that training made." >&2
    exit 1
fi
if ! docker image inspect "$serve_image" >/dev/null 2>&1; then
    echo "error: there is no image $serve_image; run \`make image\`, or set SERVE_IMAGE." >&2
    exit 1
fi

context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
cp "$here"/{Dockerfile,handler.py,requirements.txt} "$context/"
cp -R "$model" "$context/model"
chmod -R a+rX "$context" # Lambda runs it as a user of its own
# One plain manifest: Lambda takes no attestations beside it.
BUILDX_NO_DEFAULT_ATTESTATIONS=1 docker build --build-arg "SERVE_IMAGE=$serve_image" --tag "$tag" "$context"
