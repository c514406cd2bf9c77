"""The classifier to fine-tune: a pretrained encoder, the mean over its tokens, and one linear layer.

The default base model was trained with the mean over tokens; the embedding of its first token was not trained.
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
    """The output of the classifier for a batch.

    Attributes:
        logits: after the last layer, [texts, 2].
        early: logits of the early exits, [texts, exits, 2], or None without early exits.
        hidden_states: of the embeddings and of every layer, [texts, tokens, hidden] each, or None if not requested.
    """

    logits: torch.Tensor | None = None
    early: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None


class TextClassifier(torch.nn.Module):
    """Token ids, int64 [texts, tokens], to logits [texts, 2].

    Attributes:
        exit_layers: layers with an early exit, that is, with a classification layer in addition to the last layer's.
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
        """Return the logits; tokens with a mask of 0 have no influence."""
        encoded = self.encoder(
            input_ids=input_ids,
            attention_mask=attention_mask,
            output_hidden_states=output_hidden_states or bool(self.exit_layers),
        )
        output = ClassifierOutput(logits=self.head(self.dropout(_mean(encoded.last_hidden_state, attention_mask))))
        if self.exit_layers:
            means = [_mean(encoded.hidden_states[layer], attention_mask) for layer in self.exit_layers]
            early = [head(self.dropout(mean)) for head, mean in zip(self.early_heads, means, strict=True)]
            output["early"] = torch.stack(early, dim=1)
        if output_hidden_states:
            output["hidden_states"] = encoded.hidden_states
        return output


def _head(hidden: int) -> torch.nn.Linear:
    head = torch.nn.Linear(hidden, 2)
    torch.nn.init.normal_(head.weight, std=0.02)
    torch.nn.init.zeros_(head.bias)
    return head


def _mean(hidden: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * mask).sum(dim=1) / mask.sum(dim=1)


def layers_of_exits(setting: str, layers: int) -> tuple[int, ...]:
    """Return the layers with an early exit for a value of `exit_layers`, in an encoder with `layers` layers.

    Raises:
        ConfigurationError: they are not in ascending order, or not before the last layer.
    """
    if setting == "none":
        return ()
    if setting == "auto":
        # With further exits after a sixth and a third of the layers, SST-2's texts ran through a fifth fewer layers.
        # But all exits train the shared layers, and the test accuracy of the last layer was 1.2 points lower.
        return (layers // 2,) if layers > 1 else ()
    exits = tuple(int(layer) for layer in setting.split(","))
    if sorted({*exits, 0, layers}) != [0, *exits, layers]:
        raise ConfigurationError(
            f"exit_layers {setting!r} must be layers in ascending order, before the last of the {layers}; or auto, or "
            "none."
        )
    return exits


def kept_layers(num_layers: int, kept: int) -> list[int]:
    """Return the `kept` layers, counted from 1, to keep of `num_layers`: evenly spaced, including the last."""
    return [round((number + 1) * num_layers / kept) for number in range(kept)]


def require_smaller(student_layers: int, num_layers: int) -> None:
    """Check that a student with `student_layers` layers is smaller than its teacher with `num_layers`.

    Raises:
        ConfigurationError: it is not.
    """
    if not 0 < student_layers < num_layers:
        raise ConfigurationError(f"student_layers {student_layers} must be less than the model's {num_layers} layers.")


def keep_layers(encoder: Any, layers: int) -> None:
    """Keep only `layers` evenly spaced layers of `encoder`, as in the initialisation of DistilBERT (Sanh et al. 2019).

    Raises:
        ConfigurationError: `encoder` has fewer layers, or its architecture stores them elsewhere than BERT.
    """
    available = encoder.config.num_hidden_layers
    if not 0 < layers <= available:
        raise ConfigurationError(
            f"num_layers {layers}: the model has {available}; choose 1 to {available}, or 0 for all."
        )
    if layers == available:
        return
    stack: Any = getattr(encoder, "transformer", None) or getattr(encoder, "encoder", None)
    if not isinstance(getattr(stack, "layer", None), torch.nn.ModuleList):
        raise ConfigurationError(f"The layers of a {encoder.config.model_type} cannot be dropped; keep all of them.")
    stack.layer = torch.nn.ModuleList(stack.layer[number - 1] for number in kept_layers(available, layers))
    encoder.config.num_hidden_layers = layers


def save_classifier(model: TextClassifier, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write weights (safetensors), the encoder's configuration and the tokenizer to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    model.encoder.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt", EXIT_LAYERS: json.dumps(model.exit_layers)})


def load_classifier(folder: Path) -> TextClassifier:
    """Load a model that `save_classifier` wrote, ready for inference."""
    encoder = AutoModel.from_config(AutoConfig.from_pretrained(folder), dtype=torch.float32)
    with safe_open(folder / WEIGHTS, framework="pt") as file:
        exits = json.loads((file.metadata() or {}).get(EXIT_LAYERS, "[]"))
    model = TextClassifier(_without_pooler(encoder), dropout=0.0, exit_layers=exits)
    model.load_state_dict(load_file(folder / WEIGHTS))
    return model.eval()


def _without_pooler(encoder: Any) -> Any:
    """Drop the pooler, which the classifier does not use: DDP rejects unused weights, and they enlarge the artifact."""
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler = None
    return encoder
