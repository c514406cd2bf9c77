"""Build the images and push them to Amazon ECR, tagged with the git commit.

    make image                       # puts torch from your package index into container/wheels
    python -m ops.image              # the plan
    python -m ops.image --yes

The tags are COMMIT-amd64 (trains and serves) and COMMIT-serve-amd64, and the same for arm64. Each is a single image in
Docker's own format, because SageMaker and Lambda accept neither multi-platform images nor the OCI format.
"""

import base64
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field

from bert_textclassification import __version__
from bert_textclassification.errors import UserError
from ops.aws import AwsSettings, client, explained
from ops.config_file import Settings, read
from ops.plan import Step, arguments, carry_out, exit_status

CONFIG = "ops/config/image.yaml"
_REPOSITORY = r"^[a-z0-9]+([._/-][a-z0-9]+)*$"
_TARGETS: list[Literal["train", "serve"]] = ["train", "serve"]
_PLATFORMS: list[Literal["linux/amd64", "linux/arm64"]] = ["linux/amd64", "linux/arm64"]


class ImageError(UserError):
    """An image cannot be built or pushed."""


class EcrSettings(Settings):
    """Which images are built, and where they are pushed."""

    aws: AwsSettings = AwsSettings()
    repository: str = Field(default="bert-textclassification", pattern=_REPOSITORY, max_length=256, description="Name")
    kms_key: str | None = Field(default=None, description="ARN of the key that encrypts it; default: AWS's own key")
    targets: list[Literal["train", "serve"]] = Field(default=_TARGETS, min_length=1, description="Docker targets")
    platforms: list[Literal["linux/amd64", "linux/arm64"]] = Field(
        default=_PLATFORMS, min_length=1, description="Platforms; without docker buildx only that of the Docker engine"
    )
    allow_dirty: bool = Field(default=False, description="Whether uncommitted changes may be built")
    dockerfile: Path = Field(default=Path("container/Dockerfile"), description="Dockerfile, from the repository's root")
    registry: str | None = Field(default=None, description="Host of another registry than ECR's, for tests")


class Image(NamedTuple):
    """A target of the Dockerfile for one platform, and its tag."""

    target: str
    platform: str
    tag: str


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    given = arguments(__doc__, CONFIG, argv)
    return exit_status(lambda: carry_out(plan(read(given.config, EcrSettings)), given.yes))


def plan(settings: EcrSettings) -> list[Step]:
    """Return the steps from this commit to its images in the registry.

    Raises:
        ImageError: there are uncommitted changes, or Docker or git fail.
        CloudError: there are no credentials, or no region.
    """
    version = _version(settings.allow_dirty)
    ecr = client("ecr", settings.aws)
    registry = settings.registry or _registry_of_the_account(settings.aws, ecr.meta.region_name)
    has_buildx = _has_buildx()
    images = _images(settings, version, settings.platforms if has_buildx else [_platform_of_the_engine()])
    pushes = [_push_step(ecr, settings, image, f"{registry}/{settings.repository}", has_buildx) for image in images]

    def log_out() -> None:
        _docker("logout", registry)

    def is_done() -> bool:
        return all(push.is_done() for push in pushes)

    login = Step(f"log in to {registry}", lambda: _log_in(ecr, registry), is_done=is_done, undo=log_out)
    return [_repository_step(ecr, settings), login, *pushes, Step(f"log out of {registry}", log_out)]


def _images(settings: EcrSettings, version: str, platforms: Sequence[str]) -> list[Image]:
    return [
        Image(target, platform, "-".join([version, *(["serve"] if target == "serve" else []), platform.split("/")[1]]))
        for target in settings.targets
        for platform in platforms
    ]


def _repository_step(ecr: Any, settings: EcrSettings) -> Step:
    name = settings.repository
    key = settings.kms_key
    request = {
        "repositoryName": name,
        "imageTagMutability": "IMMUTABLE",
        "imageScanningConfiguration": {"scanOnPush": True},
        "encryptionConfiguration": {"encryptionType": "KMS", "kmsKey": key} if key else {"encryptionType": "AES256"},
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
                print(f"{name} is kept, because it has an image; the next run continues from there.", file=sys.stderr)

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

    def exists() -> bool:
        with explained(f"look for the image {uri}"):
            try:
                return bool(ecr.describe_images(repositoryName=settings.repository, imageIds=[{"imageTag": image.tag}]))
            except (ecr.exceptions.ImageNotFoundException, ecr.exceptions.RepositoryNotFoundException):
                return False

    title = f"build and push {uri} (an existing tag is not pushed again)"
    return Step(title, push, {"target": image.target, "platform": image.platform}, exists)


def _version(allow_dirty: bool) -> str:
    """Return the commit, with a hash of the folder's content where that differs.

    Raises:
        ImageError: it differs, and that is not allowed.
    """
    commit = _output("git", "rev-parse", "HEAD")
    if not (changes := _output("git", "status", "--porcelain")):
        return commit
    if not allow_dirty:
        changed = changes.splitlines()[0].split(maxsplit=1)[-1]
        raise ImageError(f"{changed} is not committed; commit it, or set `allow_dirty` to build what is in the folder.")
    with tempfile.TemporaryDirectory() as folder:  # a temporary index keeps the staged changes of the user
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
    """Run a command of Docker, and show its output; raise ImageError when it fails."""
    done = subprocess.run(["docker", *words], input=password, text=True)
    if done.returncode:
        raise ImageError(f"`docker {' '.join(words)}` ended with {done.returncode}; fix the problem shown above.")


def _output(*words: str, environment: dict[str, str] | None = None) -> str:
    """Return the output of a command; raise ImageError when it fails or is not installed."""
    try:
        done = subprocess.run(words, env=os.environ | (environment or {}), capture_output=True, text=True)
    except FileNotFoundError:
        raise ImageError(f"{words[0]} is not installed; install it, then try again.") from None
    if done.returncode:
        reason = done.stderr.strip().rpartition("\n")[2]
        remedy = "run it from the repository's root with Docker started"
        raise ImageError(f"`{' '.join(words)}` failed: {reason}; {remedy}.")
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
