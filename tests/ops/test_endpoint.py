"""SageMaker endpoints, created in moto. It runs no container, so the tests check the requests.

Moto lacks UpdateEndpoint: the fixture `updates` adds it.
"""

import json

import boto3
import botocore.exceptions
import pytest

from bert_textclassification.benchmarks.capacity.queueing import Service
from bert_textclassification.serving.config import ServingConfig
from ops import endpoint
from ops.hosting.settings import EndpointSettings
from ops.waiting import print_log_tail
from tests.conftest import ROOT
from tests.ops.conftest import ASYNCHRONOUS, FROM_ZERO, ROLE, interrupt, write_log
from tests.ops.conftest import ENDPOINT as SETTINGS

pytestmark = pytest.mark.usefixtures("aws")


@pytest.fixture
def command(command_of):
    return command_of(endpoint, SETTINGS)


@pytest.fixture
def served():
    """The endpoints in moto, by name."""
    from moto.backends import get_backend

    return get_backend("sagemaker")["123456789012"]["eu-central-1"].endpoints


@pytest.fixture
def reject(monkeypatch):
    """A function that makes an operation of moto fail."""
    from moto.core.exceptions import JsonRESTError
    from moto.sagemaker.responses import SageMakerResponse

    def set_error(operation: str, code: str, message: str):
        def fail(self):
            raise JsonRESTError(code, message)

        monkeypatch.setattr(SageMakerResponse, operation, fail)

    return set_error


CHANGES = ("Create", "Put", "Register", "Update", "Delete", "Deregister")


def changes(aws) -> list[str]:
    return [name for name in aws.operations() if name.startswith(CHANGES)]


def test_the_plan_shows_every_request_and_changes_nothing(aws, command, capsys):
    assert command() == 0
    out = capsys.readouterr().out
    assert all(part in out for part in (ROLE, "InitialInstanceCount: 2", "AutoRollbackConfiguration", "Nothing was"))
    assert aws == []


def test_a_real_time_endpoint_is_made_from_model_configuration_and_alarms(aws, command, served):
    assert command("--yes") == 0
    model, configuration = aws.request("CreateModel"), aws.request("CreateEndpointConfig")
    assert model["PrimaryContainer"]["ModelDataUrl"] == SETTINGS["model_data"]
    assert model["EnableNetworkIsolation"] is True
    (variant,) = configuration["ProductionVariants"]
    assert variant["ModelName"] == model["ModelName"]
    assert (variant["InstanceType"], variant["InitialInstanceCount"]) == ("ml.c5.xlarge", 2)
    assert aws.request("CreateEndpoint")["EndpointConfigName"] == configuration["EndpointConfigName"]
    assert served["tickets"].endpoint_status == "InService"


def test_network_key_and_tags_are_those_of_the_settings(aws, command):
    network = {"subnets": ["subnet-1"], "security_groups": ["sg-1"]}
    command("--yes", **network, kms_key="alias/own", tags={"team": "support"})
    assert aws.request("CreateModel")["VpcConfig"] == {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}
    assert aws.request("CreateEndpointConfig")["KmsKeyId"] == "alias/own"
    for operation in ("CreateModel", "CreateEndpointConfig", "CreateEndpoint"):
        assert aws.request(operation)["Tags"] == [{"Key": "team", "Value": "support"}]


def test_the_same_command_creates_nothing_the_second_time(aws, command):
    command("--yes")
    aws.clear()
    assert command("--yes") == 0
    assert set(changes(aws)) == {"PutMetricAlarm"}  # AWS updates alarms in place


def test_data_capture_names_bucket_share_and_key(aws, command):
    command("--yes", data_capture={"to": "s3://kept/captured", "percent": 5}, kms_key="alias/own")
    capture = aws.request("CreateEndpointConfig")["DataCaptureConfig"]
    assert (capture["DestinationS3Uri"], capture["InitialSamplingPercentage"]) == ("s3://kept/captured", 5)
    assert (capture["EnableCapture"], capture["KmsKeyId"]) == (True, "alias/own")


def test_a_serverless_endpoint_has_no_instances_and_no_canary(aws, command, updates):
    command("--yes", serverless={"memory_mb": 2048})
    command("--yes", serverless={"memory_mb": 4096})
    (variant,) = aws.requests("CreateEndpointConfig")[0]["ProductionVariants"]
    assert variant["ServerlessConfig"] == {"MemorySizeInMB": 2048, "MaxConcurrency": 20}
    assert not {"InstanceType", "InitialInstanceCount"} & variant.keys()
    assert aws.request("CreateModel")["EnableNetworkIsolation"] is False
    policy = aws.request("UpdateEndpoint")["DeploymentConfig"]["BlueGreenUpdatePolicy"]
    assert policy["TrafficRoutingConfiguration"]["Type"] == "ALL_AT_ONCE"


def test_an_asynchronous_endpoint_answers_to_s3_and_starts_from_no_instance(aws, command):
    assert command("--yes", **FROM_ZERO) == 0
    asynchronous = aws.request("CreateEndpointConfig")["AsyncInferenceConfig"]
    assert asynchronous["OutputConfig"] == {"S3OutputPath": "s3://answers/out"}
    tracking, from_zero = aws.requests("PutScalingPolicy")
    metric = tracking["TargetTrackingScalingPolicyConfiguration"]["CustomizedMetricSpecification"]
    assert metric["MetricName"] == "ApproximateBacklogSizePerInstance"
    assert from_zero["PolicyType"] == "StepScaling"
    waiting = aws.requests("PutMetricAlarm")[-1]
    assert waiting["MetricName"] == "HasBacklogWithoutCapacity"
    assert waiting["AlarmActions"][0].startswith("arn:aws:autoscaling")


def test_instances_are_added_at_a_share_of_the_measured_throughput(aws, command, tmp_path):
    measured = tmp_path / "load.json"
    measured.write_text(json.dumps({"requests_per_second": 400, "threads": 4}))
    command("--yes", autoscaling={"load_test": str(measured), "cores": 2, "utilisation": 0.5, "maximum": 6})
    target = aws.request("RegisterScalableTarget")
    assert target["ResourceId"] == "endpoint/tickets/variant/AllTraffic"
    assert (target["MinCapacity"], target["MaxCapacity"]) == (2, 6)
    tracked = aws.request("PutScalingPolicy")["TargetTrackingScalingPolicyConfiguration"]
    assert tracked["TargetValue"] == 400 / 4 * 2 * 0.5 * 60
    assert tracked["PredefinedMetricSpecification"] == {
        "PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"
    }


def test_a_changed_setting_is_an_update_that_alarms_roll_back(aws, command, served, updates):
    command("--yes")
    assert command("--yes", model_data="s3://models/job-2/output/model.tar.gz") == 0
    update = aws.request("UpdateEndpoint")["DeploymentConfig"]
    routing = update["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]
    assert routing["CanarySize"] == {"Type": "CAPACITY_PERCENT", "Value": 25}
    alarms = {alarm["AlarmName"] for alarm in aws.requests("PutMetricAlarm")}
    assert {alarm["AlarmName"] for alarm in update["AutoRollbackConfiguration"]["Alarms"]} == alarms
    assert len(aws.requests("CreateEndpoint")) == 1


def test_an_update_keeps_the_number_of_instances_of_autoscaling(aws, command, updates):
    scaling = {"requests_per_second": 100}
    command("--yes", autoscaling=scaling)
    command("--yes", autoscaling=scaling, environment={"CACHE_SIZE": "0"})
    assert aws.request("UpdateEndpoint")["RetainAllVariantProperties"] is True


SCALED = {"requests_per_second": 100}


def test_scaling_is_deregistered_before_the_instance_type_changes(aws, command, updates):
    command("--yes", autoscaling=SCALED)
    aws.clear()
    assert command("--yes", autoscaling=SCALED, instances={"type": "ml.c5.2xlarge"}) == 0
    order = [name for name in changes(aws) if "Scal" in name or name == "UpdateEndpoint"]
    assert order == ["DeregisterScalableTarget", "UpdateEndpoint", "RegisterScalableTarget", "PutScalingPolicy"]


def test_a_type_that_is_rolled_back_is_scaled_as_before(aws, command, served, updates):
    command("--yes", **FROM_ZERO)
    before = [aws.requests(name) for name in ("RegisterScalableTarget", "PutScalingPolicy")]
    updates.update(endpoint_config_name=served["tickets"].endpoint_config_name)
    aws.clear()
    assert command("--yes", **FROM_ZERO, instances={"type": "ml.c5.2xlarge"}) == 1
    assert "DeregisterScalableTarget" in aws.operations()
    assert [aws.requests(name) for name in ("RegisterScalableTarget", "PutScalingPolicy")] == before
    assert aws.requests("PutMetricAlarm")[-1]["AlarmName"] == "tickets-waiting"


def test_without_the_section_instances_are_no_longer_scaled(aws, command):
    command("--yes", autoscaling=SCALED)
    assert command("--yes") == 0
    assert aws.request("DeregisterScalableTarget")["ResourceId"] == "endpoint/tickets/variant/AllTraffic"
    aws.clear()
    assert command("--yes") == 0
    assert "DeregisterScalableTarget" not in aws.operations()


def test_from_one_instance_on_nothing_starts_from_zero(aws, command):
    command("--yes", **FROM_ZERO)
    aws.clear()
    assert command("--yes", **ASYNCHRONOUS, autoscaling={"minimum": 1}) == 0
    assert "DeregisterScalableTarget" in aws.operations()  # AWS then deletes the policies
    assert [policy["PolicyName"] for policy in aws.requests("PutScalingPolicy")] == ["tickets-tracking"]
    assert aws.request("DeleteAlarms") == {"AlarmNames": ["tickets-waiting"]}


def test_an_update_that_was_rolled_back_is_an_error_and_keeps_what_served(aws, command, served, updates, capsys):
    command("--yes")
    before = served["tickets"].endpoint_config_name
    updates.update(endpoint_config_name=before, failure_reason="Alarm tickets-errors went off.")
    aws.clear()
    assert command("--yes", environment={"CACHE_SIZE": "0"}) == 1
    sentence = "was rolled back: Alarm tickets-errors went off; the earlier configuration still serves"
    assert sentence in capsys.readouterr().err
    new = aws.request("CreateEndpointConfig")["EndpointConfigName"]
    assert aws.request("DeleteEndpointConfig") == {"EndpointConfigName": new}
    assert "DeleteAlarms" not in aws.operations()
    assert served["tickets"].endpoint_config_name == before


def test_a_failed_health_check_shows_the_log_and_deletes_everything(aws, command, served, create_with_status, capsys):
    create_with_status("Failed", "The container did not pass the ping health check.")
    write_log("/aws/sagemaker/Endpoints/tickets", "AllTraffic/i-1", "error: manifest.json is missing")
    assert command("--yes") == 1
    err = capsys.readouterr().err
    assert "error: manifest.json is missing\n---" in err
    assert "is Failed: The container did not pass the ping health check; see its log above, then change" in err
    sagemaker = boto3.client("sagemaker")
    assert (served, sagemaker.list_models()["Models"]) == ({}, [])
    assert sagemaker.list_endpoint_configs()["EndpointConfigs"] == []


def test_a_reached_quota_is_reported_with_the_remedy(aws, command, reject, capsys):
    reject("create_endpoint", "ResourceLimitExceeded", "The limit for ml.c7i.large is 0 Instances.")
    assert command("--yes") == 1
    assert (
        "error: Cannot create the endpoint tickets: The limit for ml.c7i.large is 0 Instances (ResourceLimitExceeded); "
        "ask for a higher quota, or change the instance type or count." in capsys.readouterr().err
    )
    assert {"DeleteModel", "DeleteEndpointConfig", "DeleteAlarms"} <= set(aws.operations())


def test_the_same_command_resumes_an_interrupted_creation(aws, command, served, create_with_status, monkeypatch):
    create_with_status("Creating")
    monkeypatch.setattr("ops.waiting.time.sleep", interrupt)
    assert command("--yes") == 130
    assert not {"DeleteEndpoint", "DeleteModel", "DeleteEndpointConfig", "DeleteAlarms"} & set(aws.operations())
    monkeypatch.setattr("ops.waiting.time.sleep", lambda _: vars(served["tickets"]).update(endpoint_status="InService"))
    assert command("--yes") == 0
    assert len(aws.requests("CreateEndpoint")) == 1


def test_the_same_command_resumes_an_interrupted_update(aws, command, served, updates, monkeypatch):
    command("--yes")
    aws.clear()
    updates.update(endpoint_status="Updating")
    monkeypatch.setattr("ops.waiting.time.sleep", interrupt)
    assert command("--yes", environment={"CACHE_SIZE": "0"}) == 130
    assert not [name for name in aws.operations() if name.startswith("Delete")]
    monkeypatch.setattr("ops.waiting.time.sleep", lambda _: vars(served["tickets"]).update(endpoint_status="InService"))
    assert command("--yes", environment={"CACHE_SIZE": "0"}) == 0
    assert len(aws.requests("UpdateEndpoint")) == 1


def test_a_failed_endpoint_is_created_again(aws, command, served):
    command("--yes")
    served["tickets"].endpoint_status = "Failed"
    assert command("--yes") == 0
    assert len(aws.requests("DeleteEndpoint")) == 1
    assert served["tickets"].endpoint_status == "InService"


def test_the_wait_for_an_endpoint_has_a_time_limit(command, create_with_status, monkeypatch, capsys):
    create_with_status("Creating")
    monkeypatch.setattr("ops.hosting.deployment._SLACK_S", -3600)
    assert command("--yes") == 1
    assert "is still Creating after 0 minutes; run the same command again to continue." in capsys.readouterr().err


def test_an_update_is_rolled_back_when_scaling_fails(aws, command, served, updates, monkeypatch):
    command("--yes")
    before = served["tickets"].endpoint_config_name
    denied = botocore.exceptions.ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "Register")
    monkeypatch.setattr("ops.hosting.autoscaling.targets", raising(denied))
    assert command("--yes", environment={"CACHE_SIZE": "0"}, autoscaling={"requests_per_second": 100}) == 1
    assert [request["EndpointConfigName"] for request in aws.requests("UpdateEndpoint")][-1] == before


def test_delete_removes_all_configurations_and_models_of_this_endpoint_only(aws, command, served, updates):
    scaling = {"requests_per_second": 100}
    command("--yes", autoscaling=scaling)
    command("--yes", autoscaling=scaling, environment={"CACHE_SIZE": "0"})
    command("--yes", name="tickets-b")
    aws.clear()
    assert command("--delete", "--yes") == 0
    assert len(aws.requests("DeleteModel")) == len(aws.requests("DeleteEndpointConfig")) == 2
    assert list(served) == ["tickets-b"]
    assert changes(aws)[0] == "DeregisterScalableTarget"


def test_delete_without_yes_deletes_nothing_and_twice_is_no_error(aws, command, capsys):
    command("--yes")
    aws.clear()
    assert command("--delete") == 0
    assert aws == []
    assert [command("--delete", "--yes"), command("--delete", "--yes")] == [0, 0]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"nme": "x"}, "there is no 'nme', did you mean 'name'?"),
        ({"instances": {"typ": "ml.x"}}, "there is no 'instances.typ', did you mean 'type'?"),
        ({"role": None}, "role is missing"),
        ({"role": "execution"}, "role='execution': String should match"),
        ({"subnets": ["subnet-1"]}, "subnets and security_groups belong together"),
        ({"serverless": {}, "data_capture": {"to": "s3://kept"}}, "a serverless endpoint has no data_capture"),
        ({"autoscaling": {"minimum": 0}}, "only an asynchronous endpoint may have no instance"),
        ({"autoscaling": {}}, "autoscaling needs requests_per_second, or load_test"),
        ({"autoscaling": {"load_test": "none.json", "cores": 1}}, "has no requests_per_second"),
        ({"autoscaling": {"load_test": "none.json"}}, "autoscaling.load_test needs autoscaling.cores"),
        ({"instances": {"count": 1}}, "a canary needs two instances"),
    ],
)
def test_wrong_settings_are_reported_in_one_sentence(aws, command, capsys, settings, sentence):
    assert command("--yes", **settings) == 1
    assert sentence in capsys.readouterr().err
    assert aws == []


def test_without_credentials_or_region_the_remedy_is_named(command, monkeypatch, capsys):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert command("--yes") == 1
    assert "there are no AWS credentials; run `aws configure sso`" in capsys.readouterr().err
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    assert command("--yes") == 1
    assert "there is no region; set `region` in the file, or AWS_REGION." in capsys.readouterr().err


@pytest.mark.parametrize("name", ["endpoint", "serverless", "asynchronous"])
def test_the_shipped_files_are_valid(name, shipped, monkeypatch):
    settings = shipped(name, EndpointSettings)
    documented = (ROOT / "docs/reference/server-settings.md").read_text(encoding="utf-8")  # generated from the settings
    for variable, value in settings.environment.items():
        assert f"`{variable}`" in documented
        monkeypatch.setenv(variable, value)
    ServingConfig()
    if settings.serverless:
        assert ServingConfig().workers == 1
    if settings.autoscaling and settings.autoscaling.load_test:
        assert settings.instances.type == "ml.c7i.large"
        service = Service.of_load_test(json.loads(settings.autoscaling.load_test.read_text()))
        assert settings.autoscaling.invocations_per_minute() == pytest.approx(0.6 * 60 * service.rate_per_core, abs=0.1)


def test_a_missing_log_is_reported(capsys):
    print_log_tail(boto3.client("logs"), "/aws/sagemaker/Endpoints/none")
    assert "does not exist" in capsys.readouterr().err


def raising(problem: Exception):
    def fail(*_: object) -> None:
        raise problem

    return fail
