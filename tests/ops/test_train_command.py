"""Training jobs through the SageMaker SDK: the requests that it sends, and how the command handles the job."""

import pytest

from ops import train
from ops.sagemaker_settings import Clients
from tests.ops.conftest import TRAINING as SETTINGS
from tests.ops.conftest import interrupt, write_log

pytestmark = [
    pytest.mark.usefixtures("aws"),
    pytest.mark.filterwarnings("ignore:sagemaker.train.configs has been moved"),  # raised by the SDK itself
]


@pytest.fixture
def command(command_of):
    return command_of(train, SETTINGS)


def test_the_sdk_sends_exactly_the_planned_request(aws, command):
    network = {"subnets": ["subnet-1"], "security_groups": ["sg-1"]}
    settings = train.TrainingSettings.model_validate(SETTINGS | network | {"kms_key": "alias/own", "tags": {"a": "b"}})
    planned = dict(train.training_job(Clients(settings), settings).request)
    assert command("--yes", **network, kms_key="alias/own", tags={"a": "b"}) == 0
    sent = aws.request("CreateTrainingJob")
    name = sent.pop("TrainingJobName")
    assert planned["CheckpointConfig"]["S3Uri"].split("/")[-2] in name
    assert {key: value for key, value in sent.items() if value or key in planned} == planned


def test_the_request_has_spot_checkpoints_hyperparameters_and_metrics(aws, command):
    command("--yes")
    sent = aws.request("CreateTrainingJob")
    assert sent["EnableManagedSpotTraining"] is True
    assert sent["CheckpointConfig"]["LocalPath"] == "/opt/ml/checkpoints"
    assert sent["StoppingCondition"] == {"MaxRuntimeInSeconds": 14400, "MaxWaitTimeInSeconds": 28800}
    assert sent["HyperParameters"] == {"epochs": "2", "learning_rate": "0.0002", "drop_issues": "leakage,repeat"}
    names = {metric["Name"] for metric in sent["AlgorithmSpecification"]["MetricDefinitions"]}
    assert {"train_loss", "validation_accuracy", "test_f1"} <= names


def test_the_sdk_calls_no_other_operation(aws, command):
    command("--yes")
    assert set(aws.operations()) == {"ListTrainingJobs", "DescribeTrainingJob", "CreateTrainingJob"}


def test_the_same_settings_train_once_and_the_last_line_has_the_address_of_the_model(aws, command, capsys):
    assert [command("--yes"), command("--yes")] == [0, 0]
    assert len(aws.requests("CreateTrainingJob")) == 1
    assert "model_data: s3://" in capsys.readouterr().out.splitlines()[-1]


def test_the_option_again_starts_another_job_after_a_complete_one(aws, command):
    assert [command("--yes"), command("--again", "--yes")] == [0, 0]
    names = [request["TrainingJobName"] for request in aws.requests("CreateTrainingJob")]
    assert len(set(names)) == 2


def test_the_next_command_waits_for_a_job_that_an_interruption_left(aws, command, create_with_status, monkeypatch):
    create_with_status("InProgress")
    monkeypatch.setattr("ops.waiting.time.sleep", interrupt)
    assert [command("--yes"), command("--yes")] == [130, 130]
    assert len(aws.requests("CreateTrainingJob")) == 1


def test_the_option_stop_stops_a_running_job(aws, command, create_with_status, monkeypatch):
    from moto.core.responses import EmptyResult
    from moto.sagemaker.responses import SageMakerResponse

    # moto lacks this operation
    monkeypatch.setattr(SageMakerResponse, "stop_training_job", lambda _: EmptyResult(), raising=False)
    monkeypatch.setattr("ops.waiting.time.sleep", interrupt)
    create_with_status("InProgress")
    assert [command("--yes"), command("--stop", "--yes")] == [130, 0]
    name = aws.request("CreateTrainingJob")["TrainingJobName"]
    assert aws.request("StopTrainingJob") == {"TrainingJobName": name}


def test_a_failed_job_shows_the_end_of_its_log(command, create_with_status, capsys):
    create_with_status("Failed", "AlgorithmError: train.csv has no column 'label'.")
    write_log("/aws/sagemaker/TrainingJobs", "other/algo-1", "of another job")
    assert command("--yes") == 1
    err = capsys.readouterr().err
    assert "is Failed: AlgorithmError: train.csv has no column 'label'; see its log above." in err
    assert "of another job" not in err


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"hyperparameters": {"epoch": 3}}, "there is no 'epoch', did you mean 'epochs'?"),
        ({"hyperparameters": {"learning_rate": 7}}, "learning_rate=7: Input should be less than 1"),
        ({"hyperparameters": {"data": "x"}}, "a job's data are its channels"),
        ({"channels": {"test": "s3://texts/test"}}, "needs train, and may have validation and test"),
        ({"channels": {"train": "/data"}}, "channels.train='/data': String should match"),
        ({"max_wait_s": 60}, "max_wait_s must not be below max_s"),
        ({"spott": True}, "there is no 'spott', did you mean 'spot'?"),
    ],
)
def test_wrong_settings_send_nothing(aws, command, capsys, settings, sentence):
    assert command("--yes", **settings) == 1
    assert sentence in capsys.readouterr().err
    assert aws == []


def test_the_shipped_file_is_valid(shipped):
    assert shipped("training", train.TrainingSettings).spot
