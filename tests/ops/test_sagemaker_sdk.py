"""The undocumented parts of the SageMaker SDK that `ops/sagemaker_sdk.py` relies on."""

import importlib

import pytest

from tests.private_parts import require, require_text

LIBRARY, ADAPTER = "sagemaker", "ops/sagemaker_sdk.py"
pytestmark = pytest.mark.filterwarnings("ignore:sagemaker.train.configs has been moved")  # raised by the SDK itself


def test_the_trainer_keeps_the_job_that_it_has_started():
    from sagemaker.train import ModelTrainer

    require_text(LIBRARY, ModelTrainer, "self._latest_training_job = training_job", ADAPTER)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("sagemaker.core.helper.session_helper", "Session"),
        ("sagemaker.core.parameter", "ContinuousParameter"),
        ("sagemaker.core.training.configs", "Compute"),
        ("sagemaker.core.utils.code_injection.codec", "pascal_to_snake"),
    ],
)
def test_the_modules_below_the_documented_ones_are_where_they_were(module, name):
    require(LIBRARY, importlib.import_module(module), name, ADAPTER)
