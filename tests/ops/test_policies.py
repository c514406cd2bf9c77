"""The policies allow exactly the calls of the commands, on exactly their resources."""

import fnmatch
import json
import re

import pytest
import yaml

from ops import endpoint, image, train, transform, tune
from ops.plan import carry_out
from tests.conftest import ROOT
from tests.ops.conftest import ENDPOINT, FROM_ZERO, TRAINING, TRANSFORM, TUNING, write_log

CALLER = ROOT / "ops/policies/sagemaker_caller.json"
PUSHER = ROOT / "ops/policies/image.json"
EXECUTION = ROOT / "ops/policies/sagemaker_execution.json"
FILLED_IN = {
    "REGION": "eu-central-1",
    "ACCOUNT": "123456789012",
    "NAME": "tickets",
    "EXECUTION_ROLE": "execution",
    "KEY": "k",
    "BUCKET": "texts",
    "REPOSITORY": "bert",
    "TOPIC": "answers",
    "SUBNET": "subnet-1",
    "SECURITY_GROUP": "sg-1",
}
# Permissions that AWS checks in addition to the operation; the comment names the call.
IMPLIED = {
    "iam:PassRole",  # every Create with a role
    "kms:CreateGrant",  # every Create with a key
    "iam:CreateServiceLinkedRole",  # the first RegisterScalableTarget of an account
    "sagemaker:UpdateEndpointWeightsAndCapacities",  # RegisterScalableTarget
    "sagemaker:AddTags",  # every Create with tags
    "cloudwatch:TagResource",  # PutMetricAlarm with tags
}
# Permissions that `docker push` needs in ECR, and ECR needs for the key.
PUSHED = {
    "ecr:BatchCheckLayerAvailability",
    "ecr:BatchGetImage",
    "ecr:CompleteLayerUpload",
    "ecr:InitiateLayerUpload",
    "ecr:PutImage",
    "ecr:UploadLayerPart",
    "kms:CreateGrant",
    "kms:DescribeKey",
    "kms:RetireGrant",
}
NOUNS = {
    "EndpointName": "endpoint",
    "EndpointConfigName": "endpoint-config",
    "ModelName": "model",
    "TrainingJobName": "training-job",
    "TransformJobName": "transform-job",
    "HyperParameterTuningJobName": "hyper-parameter-tuning-job",
}
pytestmark = pytest.mark.filterwarnings("ignore:sagemaker.train.configs has been moved")


def statements(path):
    text = path.read_text()
    for name, value in FILLED_IN.items():
        text = re.sub(rf"\b{name}(?=[:/*\"])", value, text)
    return json.loads(text)["Statement"]


def listed(value):
    return value if isinstance(value, list) else [value]


def allows(policy, action, resource):
    return any(
        action in listed(statement["Action"])
        and any(fnmatch.fnmatch(resource, pattern) for pattern in listed(statement["Resource"]))
        for statement in policy
    )


def resource_of(service, operation, request):
    """Return the ARN of the resource of a request, which IAM checks."""
    place = f"arn:aws:{service}:eu-central-1:123456789012:"
    if service == "sagemaker":
        key = operation.removeprefix("Create").removeprefix("Describe").removeprefix("Delete")
        key = f"{key.removeprefix('Update').removeprefix('Stop')}Name"
        return f"{place}{NOUNS[key]}/{request[key]}" if key in NOUNS else "*"
    if service == "cloudwatch":
        return f"{place}alarm:{request.get('AlarmName') or request['AlarmNames'][0]}"
    return f"{place}log-group:{request['logGroupName']}" if service == "logs" else "*"


@pytest.fixture
def calls(aws, updates, tmp_path, monkeypatch):
    """The calls that all commands together make to AWS: service, operation, request."""

    def run(command, settings, *arguments):
        path = tmp_path / "settings.yaml"
        path.write_text(yaml.safe_dump(settings), encoding="utf-8")
        command.main(["--config", str(path), *arguments])

    write_log("/aws/sagemaker/Endpoints/tickets", "AllTraffic/i-1", "error")
    aws.clear()  # the calls that wrote the log are the test's own
    scaled = ENDPOINT | FROM_ZERO
    run(endpoint, scaled, "--yes")
    run(endpoint, scaled | {"environment": {"CACHE_SIZE": "0"}}, "--yes")
    updates.update(endpoint_status="Failed")
    run(endpoint, scaled, "--yes")
    run(endpoint, scaled, "--delete", "--yes")
    for command, settings in (
        (transform, TRANSFORM),
        (train, TRAINING),
        (tune, TUNING),
    ):
        run(command, settings, "--yes")
        with monkeypatch.context() as running:
            running.setattr("ops.jobs.is_busy", lambda _: True)
            run(command, settings, "--stop", "--yes")
    return list(aws)


@pytest.mark.slow
def test_the_caller_may_do_what_the_commands_do_and_nothing_else(calls):
    policy = statements(CALLER)
    used = set(IMPLIED)
    for service, operation, request in calls:
        action = f"{service}:{operation}"
        used.add(action)
        assert allows(policy, action, resource_of(service, operation, request)), (action, request)
    assert used == {action for statement in policy for action in listed(statement["Action"])}


def test_the_pusher_may_do_what_the_command_does_and_nothing_else(aws, monkeypatch):
    settings = image.EcrSettings(repository="bert", platforms=["linux/amd64"], allow_dirty=True)
    monkeypatch.setattr("ops.image._has_buildx", lambda: True)
    monkeypatch.setattr("ops.image._docker", lambda *words, password=None: None)  # its permissions are in PUSHED
    carry_out(image.plan(settings), yes=True)
    image.plan(settings)[0].undo()
    called = {f"{service}:{operation}" for service, operation, _ in aws if service == "ecr"}
    policy = statements(PUSHER)
    for action in called - {"ecr:GetAuthorizationToken"}:
        assert allows(policy, action, "arn:aws:ecr:eu-central-1:123456789012:repository/bert")
        assert not allows(policy, action, "arn:aws:ecr:eu-central-1:123456789012:repository/other")
    assert called | PUSHED == {action for statement in policy for action in listed(statement["Action"])}


def test_the_caller_may_not_change_other_endpoints():
    policy = statements(CALLER)
    other = "arn:aws:sagemaker:eu-central-1:123456789012:endpoint/other"
    assert not allows(policy, "sagemaker:DeleteEndpoint", other)
    assert not allows(policy, "iam:PassRole", "arn:aws:iam::123456789012:role/admin")


@pytest.mark.parametrize("path", [CALLER, EXECUTION, PUSHER], ids=lambda path: path.stem)
def test_no_statement_allows_a_whole_service(path):
    for statement in statements(path):
        actions = listed(statement["Action"])
        assert statement["Effect"] == "Allow"
        assert not any("*" in action for action in actions)
        if "*" in listed(statement["Resource"]):  # only for actions without resource types, or under a condition
            only_reads = all(re.match(r"\w+:(List|Describe|GetAuthorizationToken)", action) for action in actions)
            assert only_reads or "Condition" in statement, statement["Sid"]


def test_the_execution_role_reaches_every_address_of_a_job():
    policy = statements(EXECUTION)
    settings = TRAINING
    for place in settings["channels"].values():
        assert allows(policy, "s3:GetObject", f"arn:aws:s3:::{place.removeprefix('s3://')}train.csv")
    assert allows(policy, "s3:PutObject", f"arn:aws:s3:::{settings['output'].removeprefix('s3://')}/x/model.tar.gz")
    alarm = "arn:aws:cloudwatch:eu-central-1:123456789012:alarm:tickets-errors"
    assert allows(policy, "cloudwatch:DescribeAlarms", alarm)
