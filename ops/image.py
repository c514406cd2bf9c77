"""Build the images and push them to Amazon ECR, tagged with the git commit.

    make image                       # leaves the build of torch of your package index in container/wheels
    python -m ops.image              # the plan
    python -m ops.image --yes

The tags are COMMIT-amd64 (it trains and serves) and COMMIT-serve-amd64, and the same for arm64. Each is one plain image
in Docker's own format, because SageMaker and Lambda take neither lists of platforms nor the format of OCI.
"""

import base64
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from bert_textclassification import __version__
from bert_textclassification.errors import UserError
from ops.aws import AwsSettings, client, explained
from ops.config_file import Settings, read
from ops.plan import Step, arguments, carry_out, exit_status

CONFIG = "ops/config/image.yaml"


class ImageError(UserError):
    """An image cannot be built or pushed."""


class EcrSettings(Settings):
    """Which images are built, and where they go."""

    aws: AwsSettings = AwsSettings()
    repository: str = Field(
        default="bert-textclassification",
        pattern=r"^[a-z0-9]+([._/-][a-z0-9]+)*$",
        max_length=256,
        description="Repository of ECR",
    )
    kms_key: str | None = Field(default=None, description="ARN of the key that encrypts it; AWS's when not given")
    targets: list[Literal["train", "serve"]] = Field(
        default=["train", "serve"], min_length=1, description="Targets of the Dockerfile"
    )
    platforms: list[Literal["linux/amd64", "linux/arm64"]] = Field(
        default=["linux/amd64", "linux/arm64"],
        min_length=1,
        description="Platforms to build for; without docker buildx only that of the Docker engine",
    )
    allow_dirty: bool = Field(default=False, description="Whether changes that are not committed may be built")
    dockerfile: Path = Field(
        default=Path("container/Dockerfile"), description="Dockerfile, below the repository's root"
    )
    registry: str | None = Field(default=None, description="Host of another registry than ECR's own, for tests")


@dataclass(frozen=True)
class Image:
    """One image: a target of the Dockerfile for one platform, and its tag."""

    target: str
    platform: str
    tag: str


def main(argv: Sequence[str] | None = None) -> int:
    """Build and push as the command line asks; return the exit status."""
    asked = arguments(__doc__, CONFIG, argv)
    return exit_status(lambda: carry_out(plan(read(asked.config, EcrSettings)), asked.yes))


def plan(settings: EcrSettings) -> list[Step]:
    """Return the steps from this commit to its images in the registry.

    Raises:
        ImageError: there are changes that are not committed, or Docker or git do not answer.
        CloudError: there are no credentials, or no region.
    """
    version = _version(settings.allow_dirty)
    ecr = client("ecr", settings.aws)
    registry = settings.registry or _registry_of_the_account(settings.aws, ecr.meta.region_name)
    has_buildx = _has_buildx()
    images = _images(settings, version, settings.platforms if has_buildx else [_platform_of_the_engine()])
    pushes = [_push_step(ecr, settings, image, f"{registry}/{settings.repository}", has_buildx) for image in images]
    login = Step(
        f"log in to {registry}",
        lambda: _log_in(ecr, registry),
        is_done=lambda: all(push.is_done() for push in pushes),
        undo=lambda: _docker("logout", registry),
    )
    logout = Step(f"log out of {registry}", lambda: _docker("logout", registry))
    return [_repository_step(ecr, settings), login, *pushes, logout]


def _images(settings: EcrSettings, version: str, platforms: Sequence[str]) -> list[Image]:
    return [
        Image(target, platform, "-".join([version, *(["serve"] if target == "serve" else []), platform.split("/")[1]]))
        for target in settings.targets
        for platform in platforms
    ]


def _repository_step(ecr: Any, settings: EcrSettings) -> Step:
    name = settings.repository
    own_key = {"encryptionType": "KMS", "kmsKey": settings.kms_key}
    request = {
        "repositoryName": name,
        "imageTagMutability": "IMMUTABLE",
        "imageScanningConfiguration": {"scanOnPush": True},
        "encryptionConfiguration": own_key if settings.kms_key else {"encryptionType": "AES256"},
    }

    def create() -> None:
        with explained(f"create the repository {name}"):
            ecr.create_repository(**request)

    def exists() -> bool:
        with explained(f"look for the repository {name}"):
            try:
                return bool(ecr.describe_repositories(repositoryNames=[name])["repositories"])
            except ecr.exceptions.RepositoryNotFoundException:
                return False

    def delete() -> None:
        with explained(f"delete the repository {name}"):
            try:
                ecr.delete_repository(repositoryName=name)
            except ecr.exceptions.RepositoryNotEmptyException:
                print(f"{name} is kept: an image was pushed, and the next run goes on from there.", file=sys.stderr)

    return Step(f"create the repository {name}", create, request, exists, delete)


def _push_step(ecr: Any, settings: EcrSettings, image: Image, repository: str, has_buildx: bool) -> Step:
    uri = f"{repository}:{image.tag}"
    own = ["--target", image.target, "--tag", uri, "--build-arg", f"VERSION={__version__}"]
    build = ["--file", str(settings.dockerfile), *own]

    def push() -> None:
        if has_buildx:
            output = "--output=type=image,push=true,oci-mediatypes=false"
            _docker("buildx", "build", *build, "--platform", image.platform, "--provenance=false", output, ".")
        else:
            _docker("build", *build, ".")
            _docker("push", uri)

    def is_there() -> bool:
        with explained(f"look for the image {uri}"):
            try:
                return bool(ecr.describe_images(repositoryName=settings.repository, imageIds=[{"imageTag": image.tag}]))
            except (ecr.exceptions.ImageNotFoundException, ecr.exceptions.RepositoryNotFoundException):
                return False

    title = f"build and push {uri} (a tag that exists is not pushed again)"
    return Step(title, push, {"target": image.target, "platform": image.platform}, is_there)


def _version(allow_dirty: bool) -> str:
    """Return the commit, with the hash of what is in the folder when that is something else.

    Raises:
        ImageError: it is something else, and that is not allowed.
    """
    commit = _output("git", "rev-parse", "HEAD")
    if not (changes := _output("git", "status", "--porcelain")):
        return commit
    if not allow_dirty:
        changed = changes.splitlines()[0].split(maxsplit=1)[-1]
        raise ImageError(f"{changed} is not committed; commit it, or set `allow_dirty` to build what is in the folder.")
    with tempfile.TemporaryDirectory() as folder:  # an index of its own: what the user has staged stays as it is
        index = {"GIT_INDEX_FILE": f"{folder}/index"}
        _output("git", "add", "--all", environment=index)
        return f"{commit}-dirty-{_output('git', 'write-tree', environment=index)[:12]}"


def _has_buildx() -> bool:
    try:
        return bool(_output("docker", "buildx", "version"))
    except ImageError:
        return False


def _platform_of_the_engine() -> str:
    return _output("docker", "version", "--format", "{{.Server.Os}}/{{.Server.Arch}}")


def _registry_of_the_account(settings: AwsSettings, region: str) -> str:
    with explained("find the account"):
        account = client("sts", settings).get_caller_identity()["Account"]
    suffix = ".cn" if region.startswith("cn-") else ""
    return f"{account}.dkr.ecr.{region}.amazonaws.com{suffix}"


def _log_in(ecr: Any, registry: str) -> None:
    with explained("get a password for the registry"):
        token = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    user, password = base64.b64decode(token).decode().split(":", 1)
    _docker("login", "--username", user, "--password-stdin", registry, password=password)


def _docker(*words: str, password: str | None = None) -> None:
    """Run a command of Docker, whose output the user sees.

    Raises:
        ImageError: it failed.
    """
    done = subprocess.run(["docker", *words], input=password, text=True)
    if done.returncode:
        raise ImageError(f"`docker {' '.join(words)}` ended with {done.returncode}; mend what it says above.")


def _output(*words: str, environment: dict[str, str] | None = None) -> str:
    """Return what a command prints.

    Raises:
        ImageError: it failed, or is not installed.
    """
    try:
        done = subprocess.run(words, env=os.environ | (environment or {}), capture_output=True, text=True)
    except FileNotFoundError:
        raise ImageError(f"{words[0]} is not installed; install it, then try again.") from None
    if done.returncode:
        reason = done.stderr.strip().rpartition("\n")[2]
        raise ImageError(
            f"`{' '.join(words)}` failed: {reason}; run it from the repository's root with Docker started."
        )
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
