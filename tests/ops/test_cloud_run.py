"""The service of Cloud Run: it matches the schema of Google's API, and has the required settings."""

import copy
import re

import pytest
import yaml

from bert_textclassification.serving.config import ServingConfig
from tests.conftest import ROOT
from tests.ops.google_schema import problems, schemas

SERVICE = yaml.safe_load((ROOT / "ops/cloud_run/service.yaml").read_text(encoding="utf-8"))
TEMPLATE = SERVICE["spec"]["template"]
(CONTAINER,) = TEMPLATE["spec"]["containers"]
KILLED_AFTER_S = 10  # Cloud Run's fixed time between SIGTERM and SIGKILL


def test_the_schema_of_the_api_knows_every_field():
    assert problems("run.v1", SERVICE, {"$ref": "Service"}) == []


def test_an_unknown_field_and_a_wrong_type_are_found():
    wrong = copy.deepcopy(SERVICE)
    wrong["spec"]["template"]["spec"]["concurrency"] = 32
    wrong["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"] = 2
    assert sorted(problems("run.v1", wrong, {"$ref": "Service"})) == [
        ".spec.template.spec.concurrency is unknown",
        ".spec.template.spec.containers.0.resources.limits.cpu is not of type string",
    ]


@pytest.mark.parametrize(("kind", "metadata"), [("Service", SERVICE["metadata"]), ("Revision", TEMPLATE["metadata"])])
def test_the_api_knows_every_annotation_at_its_place(kind, metadata):
    description = schemas("run.v1")["ObjectMeta"]["properties"]["annotations"]["description"]
    allowed = dict(re.findall(r"\* `([\w./-]+)`: ([\w, ]+)[.,]", description))
    for name in metadata["annotations"]:
        assert kind in allowed[name], name


def test_the_probes_use_the_port_of_the_container():
    (port,) = CONTAINER["ports"]
    assert {CONTAINER[name]["httpGet"]["port"] for name in ("startupProbe", "livenessProbe")} == {port["containerPort"]}


def test_the_times_fit_the_limits_of_cloud_run():
    startup, config = CONTAINER["startupProbe"], ServingConfig.of()
    assert 180 <= startup["periodSeconds"] * startup["failureThreshold"] <= 240  # 240 is Google's limit
    assert config.drain_timeout_s < KILLED_AFTER_S
    assert TEMPLATE["spec"]["timeoutSeconds"] > config.proxy_timeout_s


def test_callers_need_an_identity_and_the_service_an_account_of_its_own():
    assert SERVICE["metadata"]["annotations"]["run.googleapis.com/invoker-iam-disabled"] == "false"
    assert TEMPLATE["spec"]["serviceAccountName"].endswith(".iam.gserviceaccount.com")


def test_traffic_goes_to_the_latest_revision():
    assert SERVICE["spec"]["traffic"] == [{"latestRevision": True, "percent": 100}]
