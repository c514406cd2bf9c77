#!/usr/bin/env bash
# Build the image of a Lambda function that has the model inside, from the serve image (`make image`).
#   ops/gateway/model_in_lambda/build.sh runs/demo/model text-classifier-lambda:1
# Push it to ECR in the function's region, and set `image` in ops/config/gateway.yaml to its name.
set -euo pipefail

model=${1:?"usage: build.sh MODEL_FOLDER TAG, for example: build.sh runs/demo/model text-classifier-lambda:1"}
tag=${2:?"usage: build.sh MODEL_FOLDER TAG, for example: build.sh runs/demo/model text-classifier-lambda:1"}
serve_image=${SERVE_IMAGE:-bert-textclassification:serve}
here=$(cd "$(dirname "$0")" && pwd)

if [ ! -f "$model/manifest.json" ]; then
    echo "error: $model is not a model artifact, because it has no manifest.json; give a folder that training wrote." >&2
    exit 1
fi
if ! docker image inspect "$serve_image" >/dev/null 2>&1; then
    echo "error: There is no image $serve_image; run \`make image\`, or set SERVE_IMAGE." >&2
    exit 1
fi

context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
cp "$here"/{Dockerfile,handler.py,requirements.txt} "$context/"
cp -R "$model" "$context/model"
chmod -R a+rX "$context" # Lambda runs it as another user
# A plain manifest, because Lambda does not accept attestations.
BUILDX_NO_DEFAULT_ATTESTATIONS=1 docker build --build-arg "SERVE_IMAGE=$serve_image" --tag "$tag" "$context"
