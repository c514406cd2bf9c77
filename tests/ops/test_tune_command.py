"""Tuning jobs through the SageMaker SDK: it sends the planned request, with the shared search space."""

import pytest

from bert_textclassification.training.tuning.space import DEFAULT_SPACE, read_space, sagemaker_ranges
from ops import tune
from ops.sagemaker_settings import Clients
from tests.ops.conftest import TUNING as SETTINGS

pytestmark = [
    pytest.mark.usefixtures("aws"),
    pytest.mark.filterwarnings("ignore:sagemaker.train.configs has been moved"),  # raised by the SDK itself
]


@pytest.fixture
def command(command_of):
    return command_of(tune, SETTINGS)


def test_the_sdk_sends_exactly_the_planned_request(aws, command):
    settings = tune.TuningSettings.model_validate(SETTINGS)
    planned = dict(tune.tuning_job(Clients(settings), settings).request)
    assert command("--yes") == 0
    sent = aws.request("CreateHyperParameterTuningJob")
    assert len(sent.pop("HyperParameterTuningJobName")) <= 32
    sent["TrainingJobDefinition"].pop("Environment", None)
    assert sent == planned


def test_the_ranges_are_those_of_the_shared_search_space(aws, command):
    command("--yes")
    config = aws.request("CreateHyperParameterTuningJob")["HyperParameterTuningJobConfig"]
    assert config["ParameterRanges"] == sagemaker_ranges(read_space(DEFAULT_SPACE))


def test_volumes_are_encrypted_and_containers_isolated_in_every_job(aws, command):
    command("--yes")
    definition = aws.request("CreateHyperParameterTuningJob")["TrainingJobDefinition"]
    assert definition["ResourceConfig"]["VolumeKmsKeyId"] == "alias/own"
    assert definition["EnableNetworkIsolation"] is True


def test_the_same_settings_search_once(aws, command):
    assert [command("--yes"), command("--yes")] == [0, 0]
    assert len(aws.requests("CreateHyperParameterTuningJob")) == 1


def test_the_best_settings_are_one_line():
    job = {
        "TrainingJobName": "tickets-1",
        "TunedHyperParameters": {"epochs": "3", "batch_size": '"16"'},
        "FinalHyperParameterTuningJobObjectiveMetric": {"MetricName": "validation_accuracy", "Value": 0.91},
    }
    assert tune.best({"BestTrainingJob": job}) == (
        "best: tickets-1 validation_accuracy=0.9100 with epochs=3 batch_size=16"
    )
    assert tune.best({}) == "No job has reported the objective; see their logs."


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"hyperparameters": {"epochs": 3}}, "epochs is in the search space too"),
        ({"objective": "accuracy"}, "objective='accuracy' is no metric of a job; there are train_loss"),
        ({"objective": "test_f1"}, "a test_ metric must not guide the search"),
        ({"space": "none.yaml"}, "none.yaml cannot be read"),
        ({"name": "much-too-long-a-name"}, "String should have at most 12 characters"),
    ],
)
def test_wrong_settings_send_nothing(aws, command, capsys, settings, sentence):
    assert command("--yes", **settings) == 1
    assert sentence in capsys.readouterr().err
    assert aws == []


def test_the_shipped_file_is_valid(shipped):
    assert shipped("tuning", tune.TuningSettings).jobs == 20
