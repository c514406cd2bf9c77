#!/usr/bin/env bash
# Search for hyperparameters on SageMaker: prints its plan, and starts the jobs only with --yes.
#
#   local_test/sagemaker_hyperparameter.sh [--config ops/config/tuning.yaml] [--yes]
set -euo pipefail
cd "$(dirname "$0")/.."
exec "${PYTHON:-.venv/bin/python}" -m ops.tune "$@"
