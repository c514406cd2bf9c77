"""Pushing the image: what Docker is asked, and what is said when it refuses."""

import json

import pytest

from ops.plan import carry_out
from ops.push import DOCKERFILE, ImageSettings, PushError, pinned, reference, steps
from ops.push import docker as run_docker
from tests.container.conftest import Container, docker
from tests.ops import fake_docker


@pytest.fixture
def image(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model/manifest.json").write_text("{}")
    return ImageSettings(repository="registry.example:5000/acme/bert", model=tmp_path / "model")


def test_the_model_is_built_in_and_the_image_pushed(image, tmp_path, monkeypatch):
    log = fake_docker.install(tmp_path, monkeypatch)
    carry_out(steps(image, "docker login"), yes=True)
    _, build, push = log.read_text().splitlines()
    assert build == f"build --quiet --tag {reference(image)} --file - {image.model}"
    assert push == f"push --quiet {reference(image)}"
    assert pinned(image) == f"registry.example:5000/acme/bert@{fake_docker.DIGEST}"


def test_without_the_model_the_serving_image_is_tagged(image, tmp_path, monkeypatch):
    log = fake_docker.install(tmp_path, monkeypatch)
    carry_out(steps(image, "docker login", with_model=False), yes=True)
    assert f"tag {image.source} {reference(image, with_model=False)}" in log.read_text()


def test_another_model_has_another_tag(image):
    before = reference(image)
    (image.model / "manifest.json").write_text('{"newer": 1}')
    assert reference(image) != before


def test_no_model_is_one_sentence(tmp_path):
    with pytest.raises(PushError, match=r"There is no model in .*; run `make demo`, or set `model`"):
        steps(ImageSettings(repository="registry.example/bert", model=tmp_path), "docker login")


@pytest.mark.parametrize(
    ("refused", "remedy"),
    [("image", "Run `make image`, or set `source`"), ("push", "Sign in with `docker login`, and check that")],
)
def test_a_refusal_of_docker_names_the_remedy(image, tmp_path, monkeypatch, refused, remedy):
    program = tmp_path / "docker"
    program.write_text(f"#!/bin/sh\n[ $1 != {refused} ] || {{ echo denied >&2; exit 1; }}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(PushError, match=r"`docker .*` failed: denied") as problem:
        carry_out(steps(image, "docker login"), yes=True)
    assert remedy in str(problem.value)


def test_without_docker_the_sentence_says_so(image, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(PushError, match="Docker is not installed"):
        carry_out(steps(image, "docker login"), yes=True)


@pytest.mark.container
def test_the_built_image_serves_the_model_in_it_without_any_right(images, model):
    dockerfile = DOCKERFILE.format(source=f"{images}:serve")
    built = run_docker("build", "--quiet", "--file", "-", str(model), input=dockerfile)
    no_rights = ("--cap-drop", "ALL", "--security-opt", "no-new-privileges")
    try:
        with Baked(built, *no_rights) as container:
            status, answer = container.ready().predict("smoke is coming out of the dryer")
            assert (status, len(json.loads(answer)["predictions"])) == (200, 1)
    finally:
        docker("image", "rm", built)


class Baked(Container):
    """A container as a pod runs it: nothing is mounted but the scratch folder."""

    def __init__(self, image: str, *options: str) -> None:
        self.port = 8080
        scratch = ("--read-only", "--tmpfs", "/tmp:rw,size=64m,mode=1777")  # noqa: S108
        run = docker("run", "--detach", *scratch, *options, image, "serve")
        assert run.returncode == 0, run.stderr
        self.id = run.stdout.strip()
        self.host = self.inspect("{{.NetworkSettings.IPAddress}}")
