#!/usr/bin/env bash
# Train on SageMaker: prints its plan, and starts the job only with --yes.
#
#   local_test/sagemaker_training.sh [--config ops/config/training.yaml] [--yes]
set -euo pipefail
cd "$(dirname "$0")/.."
exec "${PYTHON:-.venv/bin/python}" -m ops.train "$@"
