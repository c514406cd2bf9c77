"""Push images to ECR: moto provides its API, a real Docker engine builds, and a real registry receives the images."""

import base64
import json
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import boto3
import pytest
import yaml
from moto.server import ThreadedMotoServer

from ops import image
from ops.config_file import read
from tests.conftest import ROOT, wait_until
from tests.container.conftest import docker

ACCOUNT, REGION = "123456789012", "eu-central-1"  # moto's account
DOCKERFILE = "FROM scratch AS serve\nCOPY README.md /\nFROM serve AS train\nLABEL trains=true\n"


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def aws(moto, monkeypatch) -> str:
    """The address of an empty AWS."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    urllib.request.urlopen(urllib.request.Request(f"{moto}/moto-api/reset", method="POST")).close()
    return moto


@pytest.fixture
def ecr(aws):
    return boto3.client("ecr", region_name=REGION, endpoint_url=aws)


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Path:
    """A git repository with a small Dockerfile, as working directory, and an empty Docker configuration."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / "README.md").write_text("hello")
    (folder / "Dockerfile").write_text(DOCKERFILE)
    monkeypatch.chdir(folder)
    git("init", "--quiet")
    git("add", "--all")
    git("-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "--quiet", "--message=first")
    return folder


@pytest.fixture
def config(aws, checkout, tmp_path):
    """A function that writes a settings file and returns its path."""

    def write(**settings):
        content = {"aws": {"region": REGION, "endpoint_url": aws}, "dockerfile": "Dockerfile"} | settings
        (tmp_path / "image.yaml").write_text(yaml.safe_dump(content))
        return str(tmp_path / "image.yaml")

    return write


def git(*words: str) -> str:
    return subprocess.run(["git", *words], check=True, capture_output=True, text=True).stdout.strip()


def test_the_shipped_file_has_the_default_of_every_setting():
    assert read(ROOT / image.CONFIG, image.EcrSettings) == image.EcrSettings()


def test_uncommitted_changes_are_rejected(config, checkout, capsys):
    (checkout / "new.py").write_text("")
    assert image.main(["--config", config()]) == 1
    assert capsys.readouterr().err == (
        "error: new.py is not committed; commit it, or set `allow_dirty` to build what is in the folder.\n"
    )


def test_the_tag_of_allowed_changes_is_marked_and_depends_on_the_content(config, checkout):
    (checkout / "new.py").write_text("1")
    first = image._version(allow_dirty=True)
    assert first == image._version(allow_dirty=True)
    assert first.startswith(git("rev-parse", "HEAD") + "-dirty-")
    (checkout / "new.py").write_text("2")
    assert image._version(allow_dirty=True) != first


@pytest.mark.parametrize(
    ("variable", "sentence"),
    [("AWS_ACCESS_KEY_ID", "there are no AWS credentials"), ("PATH", "git is not installed; install it")],
)
def test_a_missing_requirement_is_reported_in_one_sentence(config, monkeypatch, capsys, variable, sentence):
    path = config()
    monkeypatch.setenv(variable, "")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert image.main(["--config", path]) == 1
    assert sentence in capsys.readouterr().err


@pytest.mark.container
def test_the_plan_names_every_image_and_changes_nothing(config, ecr, capsys):
    assert image.main(["--config", config()]) == 0
    plan, commit = capsys.readouterr().out, git("rev-parse", "HEAD")
    repository = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/bert-textclassification"
    for tag in (f"{commit}-amd64", f"{commit}-serve-amd64"):
        assert f"build and push {repository}:{tag}" in plan
    assert ecr.describe_repositories()["repositories"] == []


@pytest.fixture
def registry(ecr, tmp_path) -> Iterator[str]:
    """The address of a registry that requires the password that moto issues."""
    if shutil.which("docker-registry") is None:
        pytest.skip("there is no registry to push to: apt-get install docker-registry")
    user, password = base64.b64decode(
        ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    ).split(b":", 1)
    (tmp_path / "users").write_bytes(user + b":" + bcrypt.hashpw(password, bcrypt.gensalt(4)).replace(b"$2b", b"$2y"))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        host = f"127.0.0.1:{probe.getsockname()[1]}"
    settings = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(tmp_path / "registry")}},
        "http": {"addr": host, "secret": "a"},
        "auth": {"htpasswd": {"realm": "test", "path": str(tmp_path / "users")}},
    }
    (tmp_path / "registry.yaml").write_text(yaml.safe_dump(settings))
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", str(tmp_path / "registry.yaml")], stdout=log, stderr=log
        )
    wait_until(lambda: is_listening(host))
    yield host
    process.terminate()
    process.wait()


def is_listening(host: str) -> bool:
    name, port = host.split(":")
    with socket.socket() as probe:
        return probe.connect_ex((name, int(port))) == 0


def get(registry: str, ecr, path: str) -> dict:
    """Return the JSON document at a path of the registry's repository; manifests in Docker's format."""
    token = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    request = urllib.request.Request(f"http://{registry}/v2/bert-textclassification/{path}")
    request.add_header("Authorization", f"Basic {token}")
    request.add_header("Accept", "application/vnd.docker.distribution.manifest.v2+json")
    with urllib.request.urlopen(request) as reply:
        return json.load(reply)


def tags(registry: str, ecr) -> list[str]:
    """Return the tags in the registry."""
    return sorted(get(registry, ecr, "tags/list")["tags"] or [])


def architecture(registry: str, ecr, tag: str) -> str:
    """Return the processor architecture of an image."""
    manifest = get(registry, ecr, f"manifests/{tag}")
    assert manifest["mediaType"] == "application/vnd.docker.distribution.manifest.v2+json"
    return get(registry, ecr, f"blobs/{manifest['config']['digest']}")["architecture"]


def logged_in(folder: Path) -> bool:
    return bool(json.loads((folder / "config.json").read_text())["auths"])


def remove_images(registry: str, *names: str) -> None:
    docker("rmi", *(f"{registry}/bert-textclassification:{tag}" for tag in names))


@pytest.mark.container
def test_the_images_are_pushed_to_a_new_private_repository(config, registry, ecr, tmp_path):
    path, commit = config(registry=registry), git("rev-parse", "HEAD")
    assert image.main(["--config", path, "--yes"]) == 0
    pushed, platforms = tags(registry, ecr), ["amd64", "arm64"] if image._has_buildx() else ["amd64"]
    assert pushed == sorted(f"{commit}-{kind}{platform}" for kind in ("", "serve-") for platform in platforms)
    assert all(tag.endswith(f"-{architecture(registry, ecr, tag)}") for tag in pushed)
    (repository,) = ecr.describe_repositories()["repositories"]
    assert (repository["imageTagMutability"], repository["imageScanningConfiguration"]) == (
        "IMMUTABLE",
        {"scanOnPush": True},
    )
    assert repository["encryptionConfiguration"] == {"encryptionType": "AES256"}
    assert not logged_in(tmp_path)
    remove_images(registry, *pushed)


@pytest.mark.container
def test_an_existing_tag_is_reported_and_not_pushed_again(config, registry, ecr, capsys):
    commit = git("rev-parse", "HEAD")
    ecr.create_repository(repositoryName="bert-textclassification")
    put_image(ecr, f"{commit}-amd64")
    assert image.main(["--config", config(registry=registry, platforms=["linux/amd64"]), "--yes"]) == 0
    assert f"already done: build and push {registry}/bert-textclassification:{commit}-amd64" in capsys.readouterr().out
    assert tags(registry, ecr) == [f"{commit}-serve-amd64"]
    remove_images(registry, f"{commit}-serve-amd64")


@pytest.mark.container
def test_a_failed_build_pushes_nothing_and_deletes_the_new_repository(config, checkout, registry, ecr, tmp_path, capfd):
    (checkout / "Dockerfile").write_text(DOCKERFILE.replace("README.md", "nowhere"))
    assert image.main(["--config", config(registry=registry, allow_dirty=True), "--yes"]) == 1
    assert "ended with 1; fix the problem shown above." in capfd.readouterr().err
    assert ecr.describe_repositories()["repositories"] == []
    assert not logged_in(tmp_path)


def put_image(ecr, tag: str) -> None:
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json", "layers": []}
    config = {"mediaType": "application/vnd.docker.container.image.v1+json", "size": 1, "digest": "sha256:" + 64 * "0"}
    ecr.put_image(
        repositoryName="bert-textclassification", imageManifest=json.dumps(manifest | {"config": config}), imageTag=tag
    )


def test_a_custom_key_encrypts_the_repository(config, ecr, monkeypatch):
    monkeypatch.setattr(image, "_platform_of_the_engine", lambda: "linux/amd64")
    create = image.plan(read(config(kms_key="arn:aws:kms:eu-central-1:123456789012:key/1"), image.EcrSettings))[0]
    create.run()
    assert ecr.describe_repositories()["repositories"][0]["encryptionConfiguration"]["encryptionType"] == "KMS"
