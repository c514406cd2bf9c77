"""Training jobs through the SageMaker SDK: what it sends, and what becomes of the job."""

import pytest

from ops import train
from ops.sagemaker_settings import Clients
from tests.ops.conftest import TRAINING as SETTINGS
from tests.ops.conftest import interrupt, write_log

pytestmark = [
    pytest.mark.usefixtures("aws"),
    pytest.mark.filterwarnings("ignore:sagemaker.train.configs has been moved"),  # the SDK warns of itself
]


@pytest.fixture
def command(command_of):
    return command_of(train, SETTINGS)


@pytest.fixture
def ends_as(monkeypatch):
    """Let every job have this status."""
    from moto.sagemaker.models import FakeTrainingJob

    make = FakeTrainingJob.__init__

    def having(status: str, reason: str | None = None):
        def init(self, *arguments, **names):
            make(self, *arguments, **names)
            self.training_job_status = self.secondary_status = status
            self.failure_reason = reason

        monkeypatch.setattr(FakeTrainingJob, "__init__", init)

    return having


def test_the_sdk_sends_exactly_what_the_plan_has_shown(aws, command):
    network = {"subnets": ["subnet-1"], "security_groups": ["sg-1"]}
    settings = train.TrainingSettings.model_validate(SETTINGS | network | {"kms_key": "alias/own", "tags": {"a": "b"}})
    planned = dict(train.training_job(Clients(settings), settings).request)
    assert command("--yes", **network, kms_key="alias/own", tags={"a": "b"}) == 0
    sent = aws.request("CreateTrainingJob")
    name = sent.pop("TrainingJobName")
    assert planned["CheckpointConfig"]["S3Uri"].split("/")[-2] in name
    assert {key: value for key, value in sent.items() if value or key in planned} == planned


def test_spot_checkpoints_hyperparameters_and_metrics_are_asked_for(aws, command):
    command("--yes")
    sent = aws.request("CreateTrainingJob")
    assert sent["EnableManagedSpotTraining"] is True
    assert sent["CheckpointConfig"]["LocalPath"] == "/opt/ml/checkpoints"
    assert sent["StoppingCondition"] == {"MaxRuntimeInSeconds": 14400, "MaxWaitTimeInSeconds": 28800}
    assert sent["HyperParameters"] == {"epochs": "2", "learning_rate": "0.0002", "drop_issues": "leakage,repeat"}
    names = {one["Name"] for one in sent["AlgorithmSpecification"]["MetricDefinitions"]}
    assert {"train_loss", "validation_accuracy", "test_f1"} <= names


def test_the_sdk_asks_aws_for_nothing_else(aws, command):
    command("--yes")
    assert set(aws.operations()) == {"ListTrainingJobs", "DescribeTrainingJob", "CreateTrainingJob"}


def test_the_same_settings_train_once_and_say_where_the_model_is(aws, command, capsys):
    assert [command("--yes"), command("--yes")] == [0, 0]
    assert len(aws.requests("CreateTrainingJob")) == 1
    assert "model_data: s3://" in capsys.readouterr().out.splitlines()[-1]


def test_a_complete_job_is_followed_by_another_when_told(aws, command):
    assert [command("--yes"), command("--again", "--yes")] == [0, 0]
    names = [one["TrainingJobName"] for one in aws.requests("CreateTrainingJob")]
    assert len(set(names)) == 2


def test_an_interruption_leaves_the_job_running_and_the_next_command_waits_for_it(aws, command, ends_as, monkeypatch):
    ends_as("InProgress")
    monkeypatch.setattr("ops.waiting.time.sleep", interrupt)
    assert [command("--yes"), command("--yes")] == [130, 130]
    assert len(aws.requests("CreateTrainingJob")) == 1


def test_a_running_job_is_stopped_when_told(aws, command, ends_as, monkeypatch):
    from moto.core.responses import EmptyResult
    from moto.sagemaker.responses import SageMakerResponse

    # the server does not know this operation
    monkeypatch.setattr(SageMakerResponse, "stop_training_job", lambda _: EmptyResult(), raising=False)
    monkeypatch.setattr("ops.waiting.time.sleep", interrupt)
    ends_as("InProgress")
    assert [command("--yes"), command("--stop", "--yes")] == [130, 0]
    name = aws.request("CreateTrainingJob")["TrainingJobName"]
    assert aws.request("StopTrainingJob") == {"TrainingJobName": name}


def test_a_failed_job_shows_the_end_of_its_log(command, ends_as, capsys):
    ends_as("Failed", "AlgorithmError: train.csv has no column 'label'.")
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


def test_the_file_that_ships_is_right(shipped):
    assert shipped("training", train.TrainingSettings).spot
