"""Put a model into the serving image and push it to a registry, with Docker's command line.

The model is a layer of the image: one digest pins code and model, a rollback brings both back, nothing is fetched when
a container starts, and no container needs the right to read a bucket.
"""

import hashlib
import json
import subprocess
from pathlib import Path

from pydantic import Field

from bert_textclassification import __version__
from bert_textclassification.artifact import MANIFEST
from bert_textclassification.errors import UserError
from ops.config_file import Settings
from ops.plan import Step

_DOCKERFILE = "FROM {source}\nCOPY --chown=10001 . /opt/ml/model/\n"


class PushError(UserError):
    """An image could not be built or pushed."""


class ImageSettings(Settings):
    """The image that is deployed: the serving image with the model in it."""

    repository: str = Field(
        pattern=r"^[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9._-]+)+$", description="Where it is pushed: host/path, without a tag"
    )
    tag: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$",
        description="Its tag; when not given, the version of the product and the hash of the model",
    )
    source: str = Field(
        default="bert-textclassification:serve", description="The serving image, as `make image` builds it"
    )
    model: Path = Field(default=Path("runs/demo/model"), description="Folder of the model artifact")


def reference(image: ImageSettings) -> str:
    """Return repository:tag.

    Raises:
        PushError: there is no model in the folder.
    """
    return f"{image.repository}:{image.tag or f'{__version__}-{fingerprint(image.model)[:12]}'}"


def fingerprint(model: Path) -> str:
    """Return the SHA-256 of the model's manifest, which has the hashes of every other file in it.

    Raises:
        PushError: there is no model in the folder.
    """
    try:
        return hashlib.sha256((model / MANIFEST).read_bytes()).hexdigest()
    except OSError:
        raise PushError(
            f"There is no model in {model}; run `make demo`, or set `model` to the folder of one."
        ) from None


def steps(image: ImageSettings, sign_in: str) -> list[Step]:
    """Return the steps that build the image and push it; what is there already makes them short.

    Args:
        image: what is pushed, and where to.
        sign_in: the command that signs Docker in to the registry, for the message when it refuses.

    Raises:
        PushError: there is no model in the folder.
    """
    wanted = reference(image)
    build = ["build", "--quiet", "--tag", wanted, "--file", "-", str(image.model)]
    return [
        Step(
            f"build {wanted}",
            lambda: _built(build, image),
            {"source": image.source, "model": str(image.model)},
        ),
        Step(f"push {wanted}", lambda: _pushed(wanted, sign_in)),
    ]


def pinned(image: ImageSettings) -> str:
    """Return repository@sha256:... of the image that was pushed: a tag can be moved, a digest cannot.

    Raises:
        PushError: it was not pushed from this machine.
    """
    listed = docker("image", "inspect", "--format", "{{json .RepoDigests}}", reference(image))
    for digest in json.loads(listed):
        if digest.startswith(f"{image.repository}@"):
            return str(digest)
    raise PushError(f"{reference(image)} has no digest; push it first.")


def docker(*arguments: str, input: str | None = None) -> str:
    """Run Docker and return what it prints.

    Raises:
        PushError: Docker is not installed, or refuses; with the last line that it said.
    """
    try:
        done = subprocess.run(["docker", *arguments], input=input, capture_output=True, text=True)
    except FileNotFoundError:
        raise PushError("Docker is not installed, or not on the PATH; install its command line.") from None
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
        raise PushError(f"`docker {arguments[0]}` failed: {said.removeprefix('ERROR: ').rstrip('.')}.")
    return done.stdout.strip()


def _built(build: list[str], image: ImageSettings) -> None:
    try:
        docker("image", "inspect", "--format", "{{.Id}}", image.source)
    except PushError as problem:
        raise PushError(f"{problem} Run `make image`, or set `source` to the image of another name.") from None
    docker(*build, input=_DOCKERFILE.format(source=image.source))


def _pushed(wanted: str, sign_in: str) -> None:
    try:
        docker("push", "--quiet", wanted)
    except PushError as problem:
        raise PushError(f"{problem} Sign in with `{sign_in}`, and check that `repository` exists.") from None
