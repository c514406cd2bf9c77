"""Batch transform: one job for the same settings, which a second command waits for, and the error of a failed job."""

import pytest

from ops import transform
from tests.ops.conftest import TRANSFORM as SETTINGS
from tests.ops.conftest import interrupt


@pytest.fixture
def command(command_of, aws):
    return command_of(transform, SETTINGS)


def test_a_line_of_input_becomes_a_line_of_output(aws, command):
    assert command("--yes", kms_key="alias/own", join_input=True) == 0
    sent = aws.request("CreateTransformJob")
    assert sent["ModelName"] == aws.request("CreateModel")["ModelName"]
    assert (sent["TransformInput"]["SplitType"], sent["TransformOutput"]["AssembleWith"]) == ("Line", "Line")
    assert sent["TransformOutput"]["KmsKeyId"] == sent["TransformResources"]["VolumeKmsKeyId"] == "alias/own"
    assert sent["TransformResources"]["InstanceCount"] == 2
    assert sent["DataProcessing"] == {"JoinSource": "Input"}


def test_the_same_settings_run_once_and_changed_ones_run_again(aws, command):
    assert [command("--yes"), command("--yes")] == [0, 0]
    assert len(aws.requests("CreateTransformJob")) == 1
    assert command("--yes", input="s3://texts/in-2/") == 0
    assert len(aws.requests("CreateTransformJob")) == 2


def test_a_running_job_is_waited_for_and_not_started_twice(aws, command, create_with_status, monkeypatch):
    create_with_status("InProgress")
    monkeypatch.setattr("ops.waiting.time.sleep", interrupt)
    assert [command("--yes"), command("--yes")] == [130, 130]
    assert len(aws.requests("CreateTransformJob")) == 1
    assert "DeleteModel" not in aws.operations()


def test_a_failed_job_is_reported_with_its_reason_and_the_model_is_deleted(aws, command, create_with_status, capsys):
    create_with_status("Failed", "ClientError: no such key.")
    assert command("--yes") == 1
    assert "is Failed: ClientError: no such key; see its log above." in capsys.readouterr().err
    assert "DeleteModel" in aws.operations()


def test_the_shipped_file_is_valid(shipped):
    assert shipped("transform", transform.TransformSettings).instances.count == 1
