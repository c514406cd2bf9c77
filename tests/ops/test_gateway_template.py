"""The template of the HTTP API after the transform: permissions, timeouts and alarms."""

import json
import subprocess
import sys

import pytest

from tests.conftest import PATIENCE_S, ROOT
from tests.ops.conftest import translated

TEMPLATE = ROOT / "ops/gateway/template.yaml"


@pytest.fixture(scope="module")
def resources() -> dict:
    return translated(EndpointName="tickets", CodeBucket="code", CodeKey="api/1.zip")["Resources"]


def of_type(resources: dict, kind: str) -> list[dict]:
    return [resource["Properties"] for resource in resources.values() if resource["Type"] == kind]


def lint(path) -> str:
    command = [sys.executable, "-m", "cfnlint", "--include-checks", "I", "--", str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S).stdout


@pytest.mark.slow
def test_cfn_lint_finds_nothing_in_the_template_before_and_after_the_transform(tmp_path):
    after = tmp_path / "translated.json"
    after.write_text(json.dumps(translated()))
    assert lint(TEMPLATE) + lint(after) == ""


def test_the_api_is_closed_by_default():
    parameters = translated()["Parameters"]
    assert parameters["Authorization"]["Default"] == "AWS_IAM"
    assert parameters["AllowedOrigins"]["Default"] == ""


def test_the_route_has_the_authorization_of_the_parameter_and_a_throttled_logged_stage(resources):
    (route,), (stage,) = of_type(resources, "AWS::ApiGatewayV2::Route"), of_type(resources, "AWS::ApiGatewayV2::Stage")
    assert (route["RouteKey"], route["AuthorizationType"]) == ("POST /invocations", {"Ref": "Authorization"})
    assert stage["DefaultRouteSettings"]["ThrottlingRateLimit"] == {"Ref": "RateLimit"}


def test_the_role_may_call_one_endpoint_and_write_one_log(resources):
    (role,) = of_type(resources, "AWS::IAM::Role")
    logs, endpoint = role["Policies"][0], role["Policies"][1]["Fn::If"][1]
    (writes,), (calls,) = (policy["PolicyDocument"]["Statement"] for policy in (logs, endpoint))
    assert writes["Resource"] == {"Fn::GetAtt": ["FunctionLog", "Arn"]}
    assert (calls["Action"], calls["Resource"]["Fn::Sub"].rpartition(":")[2]) == (
        "sagemaker:InvokeEndpoint",
        "endpoint/${EndpointName}",
    )


def test_the_timeouts_fit_into_each_other(resources):
    (integration,) = of_type(resources, "AWS::ApiGatewayV2::Integration")
    timeouts = {function["Timeout"] for function in of_type(resources, "AWS::Lambda::Function")}
    assert timeouts == {28}
    assert integration["TimeoutInMillis"] == 29_000
    assert (
        translated()["Parameters"]["ReadTimeout"]["MaxValue"] + 1 + 0.5 < 28
    )  # 1 s to connect, 0.5 s for the response


def test_each_alarm_notifies_the_topic(resources):
    alarms = of_type(resources, "AWS::CloudWatch::Alarm")
    assert len(alarms) == 3
    assert all(alarm["AlarmActions"]["Fn::If"][:2] == ["HasAlarmTopic", [{"Ref": "AlarmTopic"}]] for alarm in alarms)
