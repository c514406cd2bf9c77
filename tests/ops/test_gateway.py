"""`python -m ops.gateway` against a moto server.

Moto does not apply the transform of the template, so it gets the transformed template.
"""

import json

import boto3
import pytest
from botocore.client import BaseClient
from moto.server import ThreadedMotoServer

from bert_textclassification.errors import ConfigurationError
from ops.aws import CloudError
from ops.config_file import read
from ops.gateway import __main__ as command
from ops.gateway import stack as stacks
from ops.gateway.settings import GatewaySettings
from ops.gateway.stack import Stack
from tests.conftest import ROOT
from tests.ops.conftest import translated

ACTIONS = {"ListObjectsV2": "ListBucket"}  # permissions whose name differs from the operation
# Moto creates role, function and logs, and warns about the other resources.
pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse")


@pytest.fixture(scope="module")
def aws(tmp_path_factory):
    """A function that returns the boto3 client of a service of the moto server."""
    with pytest.MonkeyPatch.context() as patch:
        server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
        server.start()
        patch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*server.get_host_and_port()))
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setattr(stacks, "POLL_S", 0.01)
        template = tmp_path_factory.mktemp("template") / "translated.json"
        template.write_text(json.dumps(translated()))
        patch.setattr(command, "TEMPLATE", template)
        boto3.client("s3").create_bucket(Bucket="code")
        yield boto3.client
        server.stop()


@pytest.fixture
def run(aws, tmp_path):
    """A function that runs the command, with more lines in its file, and returns the exit status."""

    def _run(*options: str, more: str = "", bucket: str = "code") -> int:
        path = tmp_path / "gateway.yaml"
        path.write_text(f"stack: api\nendpoint: tickets\ncode_bucket: {bucket}\n" + more)
        return command.main(["--config", str(path), *options])

    yield _run
    _run("--delete", "--yes")


def functions(aws) -> list[dict]:
    return aws("lambda").list_functions()["Functions"]


def keys(aws) -> list[str]:
    return [item["Key"] for item in aws("s3").list_objects_v2(Bucket="code").get("Contents", [])]


def test_without_yes_nothing_is_created(run, aws, capsys):
    assert run() == 0
    assert (functions(aws), keys(aws), aws("cloudformation").describe_stacks()["Stacks"]) == ([], [], [])
    assert "Authorization: AWS_IAM" in capsys.readouterr().out


def test_the_stack_has_a_function_that_calls_the_endpoint(run, aws):
    assert run("--yes", more="tags: {team: support}") == 0
    (function,) = functions(aws)
    settings = {"ENDPOINT_NAME": "tickets", "MAX_BODY_BYTES": 4_000_000, "READ_TIMEOUT_S": 20, "ATTEMPTS": 3}
    assert (function["Runtime"], function["Environment"]["Variables"]) == ("python3.13", settings)
    (stack,) = aws("cloudformation").describe_stacks(StackName="api")["Stacks"]
    assert {"Key": "team", "Value": "support"} in stack["Tags"]


def test_the_second_time_there_is_nothing_to_do(run, capsys):
    run("--yes")
    capsys.readouterr()
    assert run("--yes") == 0
    printed = capsys.readouterr().out
    assert "already done: upload the function's code" in printed
    assert "nothing to change in api" in printed


def test_a_changed_setting_updates_the_stack(run, aws):
    run("--yes")
    assert run("--yes", more="rate_limit: 5") == 0
    (stack,) = aws("cloudformation").describe_stacks(StackName="api")["Stacks"]
    assert stack["StackStatus"] == "UPDATE_COMPLETE"
    assert {"ParameterKey": "RateLimit", "ParameterValue": "5"} in stack["Parameters"]


def test_delete_removes_everything_and_may_run_twice(run, aws):
    run("--yes")
    assert [run("--delete", "--yes"), run("--delete", "--yes")] == [0, 0]
    assert (functions(aws), keys(aws)) == ([], [])


def test_the_shipped_policy_allows_each_call(run, monkeypatch):
    called, call = set(), BaseClient._make_api_call

    def recorded(client, operation, request):
        service = client.meta.service_model.service_name
        called.add(f"{service}:{ACTIONS.get(operation, operation)}")
        return call(client, operation, request)

    monkeypatch.setattr(BaseClient, "_make_api_call", recorded)
    run("--yes")
    run("--yes")
    run("--delete", "--yes")
    statements = json.loads((ROOT / "ops/policies/gateway.json").read_text())["Statement"]
    direct = [statement["Action"] for statement in statements if "aws:CalledVia" not in str(statement.get("Condition"))]
    assert called <= {action for actions in direct for action in actions}


def test_a_missing_bucket_is_named(run, capsys):
    assert run("--yes", bucket="elsewhere") == 1
    assert "`code_bucket` elsewhere" in capsys.readouterr().err


class FailingCloudFormation:
    """A CloudFormation client with these events (resource, status, reason) of a failure, which moto cannot simulate."""

    def __init__(self, *events: tuple[str, str, str]) -> None:
        self._events = events
        self._num_events = 0

    def describe_stacks(self, StackName: str) -> dict:
        return {"Stacks": [{"StackId": "id", "StackStatus": "REVIEW_IN_PROGRESS"}]}

    def create_change_set(self, **_: object) -> dict:
        return {"Id": "change"}

    def describe_change_set(self, **_: object) -> dict:
        return {"Status": "CREATE_COMPLETE"}

    def execute_change_set(self, **_: object) -> None:
        self._num_events = len(self._events)

    def get_paginator(self, _: str) -> "FailingCloudFormation":
        return self

    def paginate(self, **_: object) -> list[dict]:
        names = ("LogicalResourceId", "ResourceStatus", "ResourceStatusReason")
        events = [
            {"EventId": str(number), "ResourceType": "AWS::Thing", **dict(zip(names, event, strict=True))}
            for number, event in enumerate(self._events[: self._num_events])
        ]
        return [{"StackEvents": events[::-1]}]


def test_the_resource_that_failed_first_is_named_with_its_reason():
    cloud = FailingCloudFormation(
        ("api", "CREATE_IN_PROGRESS", "User Initiated"),
        ("Api", "CREATE_FAILED", "Resource creation cancelled"),
        ("EndpointFunction", "CREATE_FAILED", "Your access has been denied by S3."),
        ("api", "ROLLBACK_IN_PROGRESS", "The following resource(s) failed to create"),
        ("api", "ROLLBACK_COMPLETE", ""),
    )
    with pytest.raises(CloudError, match=r"ROLLBACK_COMPLETE: EndpointFunction \(AWS::Thing\) failed: Your access has"):
        Stack(cloud, "api", tell=lambda _: None).apply({})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("stack: api", "give `endpoint` or `image`, one of the two"),
        ("endpoint: a", "`endpoint` needs a `code_bucket`"),
        ("endpoint: a\ncode_bucket: b\nauthorization: jwt", "`authorization: jwt` and `jwt` go together"),
        (
            "endpoint: a\nauthorisation: iam",
            "there is no 'authorisation', did you mean 'authorization'?",
        ),
        ("image: ubuntu", "image='ubuntu'"),
    ],
)
def test_an_invalid_file_is_reported_in_one_sentence(tmp_path, text, sentence):
    path = tmp_path / "gateway.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as problem:
        read(path, GatewaySettings)
    assert sentence in str(problem.value)


def test_the_shipped_file_is_valid(monkeypatch):
    monkeypatch.setenv("BUCKET", "code")
    settings = read(ROOT / "ops/config/gateway.yaml", GatewaySettings)
    assert set(settings.parameters("key")) == set(translated()["Parameters"])
