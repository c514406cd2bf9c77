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
from bert_textclassification.artifact.store import MANIFEST
from bert_textclassification.errors import UserError
from ops.config_file import Settings
from ops.plan import Step

DOCKERFILE = "FROM {source}\nCOPY --chown=10001 . /opt/ml/model/\n"


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

    @property
    def host(self) -> str:
        """The registry that Docker signs in to."""
        return self.repository.partition("/")[0]


def reference(image: ImageSettings, with_model: bool = True) -> str:
    """Return repository:tag; the tag of an image without the model says nothing of it.

    Raises:
        PushError: there is no model in the folder.
    """
    tag = f"{__version__}-{fingerprint(image.model)[:12]}" if with_model else __version__
    return f"{image.repository}:{image.tag or tag}"


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


def steps(image: ImageSettings, sign_in: str, with_model: bool = True) -> list[Step]:
    """Return the steps that build the image and push it; what is there already makes them short.

    Args:
        image: what is pushed, and where to.
        sign_in: the command that signs Docker in to the registry, for the message when it refuses.
        with_model: False where the platform keeps the model itself, and mounts it.

    Raises:
        PushError: there is no model in the folder.
    """
    wanted = reference(image, with_model)
    if with_model:
        what = {"source": image.source, "model": str(image.model)}
        build = Step(f"build {wanted}", lambda: _build(image, wanted), what)
    else:
        build = Step(f"tag {image.source} as {wanted}", lambda: _tag(image, wanted))
    return [build, Step(f"push {wanted}", lambda: _push(wanted, sign_in))]


def pinned(image: ImageSettings, with_model: bool = True) -> str:
    """Return repository@sha256:... of the image that was pushed: a tag can be moved, a digest cannot.

    Raises:
        PushError: it was not pushed from this machine.
    """
    listed = docker("image", "inspect", "--format", "{{json .RepoDigests}}", reference(image, with_model))
    for digest in json.loads(listed):
        if digest.startswith(f"{image.repository}@"):
            return str(digest)
    raise PushError(f"{reference(image, with_model)} has no digest; push it first.")


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


def _build(image: ImageSettings, wanted: str) -> None:
    _check_source(image)
    dockerfile = DOCKERFILE.format(source=image.source)
    docker("build", "--quiet", "--tag", wanted, "--file", "-", str(image.model), input=dockerfile)


def _tag(image: ImageSettings, wanted: str) -> None:
    _check_source(image)
    docker("tag", image.source, wanted)


def _check_source(image: ImageSettings) -> None:
    try:
        docker("image", "inspect", "--format", "{{.Id}}", image.source)
    except PushError as problem:
        raise PushError(f"{problem} Run `make image`, or set `source` to the image of another name.") from None


def _push(wanted: str, sign_in: str) -> None:
    try:
        docker("push", "--quiet", wanted)
    except PushError as problem:
        raise PushError(f"{problem} Sign in with `{sign_in}`, and check that `repository` exists.") from None
