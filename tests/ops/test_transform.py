"""Batch transform: one job for the same settings, found again, shown when it fails."""

import pytest

from ops import transform
from tests.ops.conftest import TRANSFORM as SETTINGS
from tests.ops.conftest import interrupt


@pytest.fixture
def command(command_of, aws):
    return command_of(transform, SETTINGS)


@pytest.fixture
def ends_as(monkeypatch):
    """Let every job have this status."""
    from moto.sagemaker.models import FakeTransformJob

    make = FakeTransformJob.__init__

    def having(status: str, reason: str | None = None):
        def init(self, *arguments, **names):
            make(self, *arguments, **names)
            self.transform_job_status, self.failure_reason = status, reason

        monkeypatch.setattr(FakeTransformJob, "__init__", init)

    return having


def test_a_line_of_input_becomes_a_line_of_output(aws, command):
    assert command("--yes", kms_key="alias/own", join_input=True) == 0
    sent = aws.request("CreateTransformJob")
    assert sent["ModelName"] == aws.request("CreateModel")["ModelName"]
    assert (sent["TransformInput"]["SplitType"], sent["TransformOutput"]["AssembleWith"]) == ("Line", "Line")
    assert sent["TransformOutput"]["KmsKeyId"] == sent["TransformResources"]["VolumeKmsKeyId"] == "alias/own"
    assert sent["TransformResources"]["InstanceCount"] == 2
    assert sent["DataProcessing"] == {"JoinSource": "Input"}


def test_the_same_settings_run_once_and_again_when_told(aws, command):
    assert [command("--yes"), command("--yes")] == [0, 0]
    assert len(aws.requests("CreateTransformJob")) == 1
    assert command("--yes", input="s3://texts/in-2/") == 0
    assert len(aws.requests("CreateTransformJob")) == 2


def test_a_job_that_runs_is_waited_for_and_not_started_twice(aws, command, ends_as, monkeypatch):
    ends_as("InProgress")
    monkeypatch.setattr("ops.waiting.time.sleep", interrupt)
    assert [command("--yes"), command("--yes")] == [130, 130]
    assert len(aws.requests("CreateTransformJob")) == 1
    assert "DeleteModel" not in aws.operations()


def test_a_job_that_failed_says_why_and_leaves_no_model(aws, command, ends_as, capsys):
    ends_as("Failed", "ClientError: no such key.")
    assert command("--yes") == 1
    assert "is Failed: ClientError: no such key; see its log above." in capsys.readouterr().err
    assert "DeleteModel" in aws.operations()


def test_the_file_that_ships_is_right(shipped):
    assert shipped("transform", transform.TransformSettings).instances.count == 1
