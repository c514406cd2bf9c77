"""The server has the routes that the files for the platforms name."""

import yaml

from tests.conftest import ROOT

QUESTION = b'{"instances": ["smoke is coming out of the dryer"]}', {"Content-Type": "application/json"}


def of_file(name):
    return yaml.safe_load((ROOT / "ops" / name).read_text(encoding="utf-8"))


def test_those_of_vertex_ai(tiny_server):
    flags = of_file("vertex_ai/model.yaml")
    assert tiny_server.request("GET", flags["--container-health-route"])[0] == 200
    assert tiny_server.request("POST", flags["--container-predict-route"], *QUESTION)[0] == 200


def test_those_of_cloud_run(tiny_server):
    (container,) = of_file("cloud_run/service.yaml")["spec"]["template"]["spec"]["containers"]
    for probe in ("startupProbe", "livenessProbe"):
        assert tiny_server.request("GET", container[probe]["httpGet"]["path"])[0] == 200


def test_those_of_azure_ml(tiny_server):
    routes = of_file("azure_ml/deployment.yaml")["environment"]["inference_config"]
    assert {route["port"] for route in routes.values()} == {8080}
    assert tiny_server.request("GET", routes["liveness_route"]["path"])[0] == 200
    assert tiny_server.request("GET", routes["readiness_route"]["path"])[0] == 200
    assert tiny_server.request("POST", routes["scoring_route"]["path"], *QUESTION)[0] == 200
