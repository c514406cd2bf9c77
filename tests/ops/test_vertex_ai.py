"""The flags for `gcloud ai`: the commands have them, and the resulting requests match the schema of the API."""

import re

import pytest
import yaml

from tests.conftest import ROOT
from tests.ops.google_schema import problems

REGION = {"--region"}
# Flag -> field of the request, from gcloud's reference of each command.
MODEL = {
    "--model-id": "modelId",
    "--display-name": "model.displayName",
    "--container-image-uri": "model.containerSpec.imageUri",
    "--container-args": "model.containerSpec.args",
    "--container-env-vars": "model.containerSpec.env",
    "--container-ports": "model.containerSpec.ports",
    "--container-health-route": "model.containerSpec.healthRoute",
    "--container-predict-route": "model.containerSpec.predictRoute",
    "--container-deployment-timeout-seconds": "model.containerSpec.deploymentTimeout",
}
ENDPOINT = {"--endpoint-id": None, "--display-name": "displayName"}  # the id is in the URL of the request
DEPLOYMENT = {
    "--model": "deployedModel.model",
    "--deployed-model-id": "deployedModel.id",
    "--display-name": "deployedModel.displayName",
    "--machine-type": "deployedModel.dedicatedResources.machineSpec.machineType",
    "--min-replica-count": "deployedModel.dedicatedResources.minReplicaCount",
    "--max-replica-count": "deployedModel.dedicatedResources.maxReplicaCount",
    "--autoscaling-metric-specs": "deployedModel.dedicatedResources.autoscalingMetricSpecs",
    "--traffic-split": "trafficSplit",
}
METRICS = {"cpu-usage": "aiplatform.googleapis.com/prediction/online/cpu/utilization"}
# How gcloud converts values that have another form in the request.
CONVERSIONS = {
    "--container-env-vars": lambda value: [{"name": name, "value": text} for name, text in value.items()],
    "--container-ports": lambda value: [{"containerPort": port} for port in value],
    "--container-deployment-timeout-seconds": lambda seconds: f"{seconds}s",
    "--deployed-model-id": str,
    "--autoscaling-metric-specs": lambda value: [
        {"metricName": METRICS[name], "target": target} for name, target in value.items()
    ],
    "--traffic-split": lambda value: {str(name): share for name, share in value.items()},
}


def flags(name):
    return yaml.safe_load((ROOT / f"ops/vertex_ai/{name}.yaml").read_text(encoding="utf-8"))


def request(values, fields):
    """Return the request that gcloud sends for the flags."""
    body = {}
    for flag, value in values.items():
        if flag in REGION or fields[flag] is None:
            continue
        *parents, last = fields[flag].split(".")
        place = body
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = CONVERSIONS.get(flag, lambda unchanged: unchanged)(value)
    return body


@pytest.mark.parametrize(
    ("name", "fields", "schema"),
    [
        ("model", MODEL, "UploadModelRequest"),
        ("endpoint", ENDPOINT, "Endpoint"),
        ("deployment", DEPLOYMENT, "DeployModelRequest"),
    ],
)
def test_the_flags_make_a_request_of_the_api(name, fields, schema):
    values = flags(name)
    assert values.keys() == fields.keys() | REGION
    body = request(values, fields)
    assert problems("aiplatform.v1", body, {"$ref": f"GoogleCloudAiplatformV1{schema}"}) == []


def test_an_unknown_field_is_found():
    body = {"deployedModel": {"machineType": "n2-standard-2"}}
    assert problems("aiplatform.v1", body, {"$ref": "GoogleCloudAiplatformV1DeployModelRequest"}) == [
        ".deployedModel.machineType is unknown"
    ]


def test_the_three_files_name_the_same_region_and_model():
    model, endpoint, deployment = map(flags, ("model", "endpoint", "deployment"))
    assert model["--region"] == endpoint["--region"] == deployment["--region"]
    assert deployment["--model"].partition("@")[0] == model["--model-id"]
    assert re.fullmatch(r"[a-z][a-z0-9-]{0,61}[a-z0-9]", endpoint["--endpoint-id"])


def test_all_traffic_goes_to_the_new_deployment_which_scales():
    deployment = flags("deployment")
    assert deployment["--traffic-split"] == {0: 100}
    assert 1 <= deployment["--min-replica-count"] < deployment["--max-replica-count"]


def test_the_container_serves_the_model_in_the_image():
    model = flags("model")
    assert model["--container-args"] == ["serve"]
    assert model["--container-env-vars"] == {"MODEL_DIR": "/opt/ml/model"}
    assert "--artifact-uri" not in model
