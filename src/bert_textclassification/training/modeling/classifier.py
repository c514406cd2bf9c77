"""The classifier that is fine-tuned: a pretrained encoder, the mean over its tokens, one linear layer.

The mean over tokens is what the default base was trained with; a head on the first token starts from an embedding
that nothing has trained.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModel,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import ModelOutput

from bert_textclassification.errors import ConfigurationError
from bert_textclassification.training.modeling.base_model_files import WEIGHTS

EXIT_LAYERS = "exit_layers"  # in the metadata of the weights


@dataclass
class ClassifierOutput(ModelOutput):
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
    ) -> ClassifierOutput:
        """Return the logits; tokens whose mask is 0 have no influence."""
        deep = self.encoder(
            input_ids=input_ids,
            attention_mask=attention_mask,
            output_hidden_states=output_hidden_states or bool(self.exit_layers),
        )
        answers = ClassifierOutput(logits=self.head(self.dropout(_mean(deep.last_hidden_state, attention_mask))))
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
