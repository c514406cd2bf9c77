"""Artifacts on disk: load and check, write the manifest last, pack for SageMaker."""

import hashlib
import json
import logging
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from bert_textclassification.artifact.hashing import sha256_of
from bert_textclassification.artifact.manifest import SCHEMA_VERSION, Manifest, StoredFile, Variant
from bert_textclassification.errors import ArtifactError

log = logging.getLogger(__name__)
MANIFEST = "manifest.json"
TOKENIZER = "tokenizer.json"
MODEL_CARD = "model_card.md"


@dataclass(frozen=True)
class Artifact:
    """An artifact folder with its validated manifest; all of its files exist."""

    folder: Path
    manifest: Manifest
    version: str

    @classmethod
    def load(cls, folder: str | Path) -> "Artifact":
        """Read and check the artifact in `folder`.

        Raises:
            ArtifactError: the folder, the manifest or a file is missing, damaged, or of another schema.
        """
        folder = Path(folder)
        raw = _manifest_bytes(folder)
        artifact = cls(folder, parse_manifest(raw, folder / MANIFEST), hashlib.sha256(raw).hexdigest()[:12])
        for stored in files_of(artifact.manifest):
            _check_size(folder / stored.file, stored)
        return artifact

    def tokenizer_path(self) -> Path:
        """Return the verified tokenizer file."""
        return _verified(self.folder, self.manifest.tokenizer)

    def variant(self, name: str | None = None) -> tuple[str, Variant]:
        """Return the name and the entry of the variant `name`, or of the default variant."""
        name = name or self.manifest.default_variant
        if name not in self.manifest.variants:
            known = ", ".join(sorted(self.manifest.variants))
            raise ArtifactError(f"{self.folder} has no variant {name!r}; choose one of: {known}.")
        return name, self.manifest.variants[name]

    def model_path(self, name: str) -> Path:
        """Return the verified model file of the variant `name`."""
        return _verified(self.folder, self.variant(name)[1])


def write_manifest(folder: Path, manifest: Manifest) -> Artifact:
    """Write the manifest atomically and load the artifact; all other files must be in `folder`."""
    partial = folder / f"{MANIFEST}.partial"
    partial.write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    partial.replace(folder / MANIFEST)
    return Artifact.load(folder)


def pack(folder: Path, archive: Path) -> Path:
    """Pack the artifact in `folder` as the gzipped tar that SageMaker expects: files at the top level, no folder."""
    names = [MANIFEST, MODEL_CARD, *(stored.file for stored in files_of(Artifact.load(folder).manifest))]
    archive.parent.mkdir(parents=True, exist_ok=True)
    partial = archive.with_name(archive.name + ".partial")
    with tarfile.open(partial, "w:gz", compresslevel=1) as tar:  # weights hardly compress
        for name in dict.fromkeys(names):  # variants may share a file
            if (folder / name).exists():
                tar.add(folder / name, arcname=name, recursive=False)
    return partial.replace(archive)


def parse_manifest(raw: bytes, path: Path | str) -> Manifest:
    """Read a manifest of any schema up to this release's; `path` names it in messages.

    Raises:
        ArtifactError: it is damaged, or this release cannot serve its default variant.
    """
    try:
        content = json.loads(raw)
    except ValueError as problem:
        raise ArtifactError(f"{path} is not valid JSON ({problem}); copy the artifact again.") from None
    _check_schema(content.get("schema_version") if isinstance(content, dict) else None, path)
    content = _with_known_variants(content, path)
    try:
        # Construction rejects unknown fields; reading ignores them.
        manifest = Manifest.model_validate(_as_schema_2(content), extra="ignore")
    except ValidationError as problem:
        first = problem.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ArtifactError(f"{path} is damaged at {where!r}: {first['msg']}; copy it again.") from None
    if manifest.default_variant not in manifest.variants:
        raise ArtifactError(f"{path} has no entry for its default variant {manifest.default_variant!r}; copy it again.")
    return manifest


def files_of(manifest: Manifest) -> list[StoredFile]:
    """Return the files that serving reads beside the manifest: the tokenizer, and that of each variant."""
    return [manifest.tokenizer, *manifest.variants.values()]


def _manifest_bytes(folder: Path) -> bytes:
    try:
        if not folder.is_dir():
            raise ArtifactError(f"There is no model folder {folder}; train a model or set MODEL_DIR to one.")
        return (folder / MANIFEST).read_bytes()
    except OSError as problem:
        if not isinstance(problem, FileNotFoundError):
            raise _unreadable(folder / MANIFEST, problem) from None
        raise ArtifactError(
            f"{folder} has no {MANIFEST}, so it is not a finished model artifact; train again or point to "
            "the folder that training wrote."
        ) from None


def _check_schema(version: object, path: Path | str) -> None:
    if type(version) is not int or version < 1:
        raise ArtifactError(f"{path} has the schema version {version!r}, which no release writes; copy it again.")
    if version > SCHEMA_VERSION:
        raise ArtifactError(
            f"{path} was written by a newer release: it has schema version {version} and this release reads up to "
            f"{SCHEMA_VERSION}; serve it with the release that trained it."
        )


def _with_known_variants(content: dict[str, Any], path: Path | str) -> dict[str, Any]:
    """Remove the variants that need an engine of a newer release from a manifest.

    Raises:
        ArtifactError: the default variant is one of them.
    """
    variants = content.get("variants")
    if not isinstance(variants, dict):
        return content
    newer = [name for name, variant in variants.items() if isinstance(variant, dict) and _is_newer(variant)]
    if (default := content.get("default_variant")) in newer:
        raise ArtifactError(
            f"{path} was written by a newer release: this one has no engine {variants[default].get('engine')!r} in "
            f"{variants[default].get('precision')!r}, which the default variant {default!r} needs; serve it with the "
            "release that trained it."
        )
    for name in newer:
        log.warning("%s: the variant %s needs a newer release and is ignored.", path, name)
    return {**content, "variants": {name: variant for name, variant in variants.items() if name not in newer}}


def _is_newer(variant: dict[str, Any]) -> bool:
    """Whether a variant names an engine or a precision that this release does not have."""
    fields = {name: Variant.model_fields[name] for name in ("engine", "precision")}
    return any(
        isinstance(given := variant.get(name), str) and given not in get_args(field.annotation)
        for name, field in fields.items()
    )


def _as_schema_2(content: dict[str, Any]) -> dict[str, Any]:
    """Convert a manifest to schema 2. Schema 1 has `made_on` for `measured_on`, and always truncates on the right.

    `made_on.instructions` is the instruction set of the native engine's kernels.
    """
    made_on = content.get("made_on")
    if content["schema_version"] != 1 or not isinstance(made_on, dict):
        return content
    processor = {"name": made_on.get("processor", ""), "kind": made_on.get("instructions", "")}
    return {**content, "measured_on": processor}


def _check_size(path: Path, stored: StoredFile) -> None:
    if not path.is_file():
        raise ArtifactError(f"The artifact lacks {path}; copy the whole folder again.")
    if path.stat().st_size != stored.size_bytes:
        raise ArtifactError(
            f"{path} has {path.stat().st_size} bytes, but the manifest says {stored.size_bytes}; "
            "copy the artifact again."
        )


def _verified(folder: Path, stored: StoredFile) -> Path:
    path = folder / stored.file
    try:
        _check_size(path, stored)
        digest = sha256_of(path)
    except OSError as problem:
        raise _unreadable(path, problem) from None
    if digest != stored.sha256:
        raise ArtifactError(f"{path} does not match the SHA-256 in the manifest; copy the artifact again.")
    return path


def _unreadable(path: Path, problem: OSError) -> ArtifactError:
    return ArtifactError(f"{path} cannot be read ({problem.strerror}); let this user read the whole model folder.")
