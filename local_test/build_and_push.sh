#!/usr/bin/env bash
# Build the images of this commit and push them to Amazon ECR: prints its plan, and pushes only with --yes.
#
#   local_test/build_and_push.sh [--config ops/config/image.yaml] [--yes]
set -euo pipefail
cd "$(dirname "$0")/.."
exec "${PYTHON:-.venv/bin/python}" -m ops.image "$@"
