"""The image with a model in it: its Dockerfile, and a running container."""

import json
import re

import pytest

from tests.conftest import ROOT
from tests.container.conftest import Container, docker

DOCKERFILE = ROOT / "ops/model.Dockerfile"


def test_the_model_is_readable_by_the_user_of_the_serving_image():
    serving = (ROOT / "container/Dockerfile").read_text(encoding="utf-8")
    (owner,) = re.findall(r"^COPY --chown=(\d+) \. /opt/ml/model/$", DOCKERFILE.read_text(), re.MULTILINE)
    assert re.search(rf"^USER {owner}\b", serving, re.MULTILINE)


@pytest.mark.container
def test_the_built_image_serves_its_model_without_privileges(images, model):
    tag = f"{images}:with-model"
    source = f"SERVE_IMAGE={images}:serve"
    build = docker("build", "--quiet", "--file", DOCKERFILE, "--build-arg", source, "--tag", tag, model)
    assert build.returncode == 0, build.stderr
    no_privileges = ("--cap-drop", "ALL", "--security-opt", "no-new-privileges")
    try:
        with WithModel(tag, *no_privileges) as container:
            status, answer = container.ready().predict("smoke is coming out of the dryer")
            assert (status, len(json.loads(answer)["predictions"])) == (200, 1)
    finally:
        docker("image", "rm", tag)


class WithModel(Container):
    """A container that runs as in a pod: only the scratch folder is mounted."""

    def __init__(self, image: str, *options: str) -> None:
        self.port = 8080
        scratch = ("--read-only", "--tmpfs", "/tmp:rw,size=64m,mode=1777")  # noqa: S108
        run = docker("run", "--detach", *scratch, *options, image, "serve")
        assert run.returncode == 0, run.stderr
        self.id = run.stdout.strip()
        self.host = self.inspect("{{.NetworkSettings.IPAddress}}")
