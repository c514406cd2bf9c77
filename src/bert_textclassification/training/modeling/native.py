"""Export a fine-tuned classifier for the native engine: safetensors with int8 weights and one scale per output."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save

from bert_textclassification.engines.native.engine import METADATA, Architecture
from bert_textclassification.training.modeling.classifier import TextClassifier

Floats = NDArray[np.float32]

# Names of the parts of a layer in encoders of BERT's architecture, by `model_type`.
BERT = {
    "query": "encoder.layer.{}.attention.self.query",
    "key": "encoder.layer.{}.attention.self.key",
    "value": "encoder.layer.{}.attention.self.value",
    "attention_output": "encoder.layer.{}.attention.output.dense",
    "attention_norm": "encoder.layer.{}.attention.output.LayerNorm",
    "expand": "encoder.layer.{}.intermediate.dense",
    "contract": "encoder.layer.{}.output.dense",
    "output_norm": "encoder.layer.{}.output.LayerNorm",
}
DISTILBERT = {
    "query": "transformer.layer.{}.attention.q_lin",
    "key": "transformer.layer.{}.attention.k_lin",
    "value": "transformer.layer.{}.attention.v_lin",
    "attention_output": "transformer.layer.{}.attention.out_lin",
    "attention_norm": "transformer.layer.{}.sa_layer_norm",
    "expand": "transformer.layer.{}.ffn.lin1",
    "contract": "transformer.layer.{}.ffn.lin2",
    "output_norm": "transformer.layer.{}.output_layer_norm",
}
PARTS = {
    "bert": BERT, "roberta": BERT, "xlm-roberta": BERT, "camembert": BERT, "electra": BERT, "distilbert": DISTILBERT
}  # fmt: skip
POSITIONS_AFTER_PADDING = ("roberta", "xlm-roberta", "camembert")  # their first position is pad_token_id + 1


def unsupported(model: TextClassifier) -> str | None:
    """Return why the native engine cannot run this model, or None if it can."""
    config = model.encoder.config
    shape = architecture(model) if config.model_type in PARTS else None
    if shape is None:
        return f"it supports {', '.join(PARTS)} and not {config.model_type}"
    if getattr(config, "hidden_act", getattr(config, "activation", "")) != "gelu":
        return "it supports only the activation gelu"
    if getattr(config, "position_embedding_type", "absolute") != "absolute" or getattr(config, "is_decoder", False):
        return "it supports only absolute positions and bidirectional attention"
    if "embeddings_project.weight" in model.encoder.state_dict():
        return "it does not support a projection of embeddings"
    if shape.hidden_size % 64 or shape.intermediate_size % 64 or shape.hidden_size // shape.num_attention_heads % 32:
        return "the width of layers must be a multiple of 64 and that of attention heads a multiple of 32"
    return None


def architecture(model: TextClassifier) -> Architecture:
    """Return the shape of the encoder."""
    config = model.encoder.config
    return Architecture(
        num_hidden_layers=config.num_hidden_layers,
        hidden_size=config.hidden_size,
        num_attention_heads=config.num_attention_heads,
        intermediate_size=getattr(config, "intermediate_size", None) or config.hidden_dim,
        vocab_size=config.vocab_size,
        max_position_embeddings=config.max_position_embeddings - _first_position(config),
        layer_norm_eps=getattr(config, "layer_norm_eps", 1e-12),
        exit_layers=(*model.exit_layers, config.num_hidden_layers),
    )


def export_native(model: TextClassifier, path: Path) -> None:
    """Write the model to `path`."""
    shape = architecture(model)
    # `save_file` writes a file that only its owner can read, and the container has a different user.
    path.write_bytes(save(tensors(model, shape), metadata={METADATA: shape.model_dump_json()}))


def tensors(model: TextClassifier, shape: Architecture) -> dict[str, NDArray[Any]]:
    """Return every tensor by its name in the engine's format."""
    config, weights = model.encoder.config, _Weights(model)
    word, word_scale = quantized(weights["encoder.embeddings.word_embeddings.weight"])
    position = weights["encoder.embeddings.position_embeddings.weight"][_first_position(config) :]
    if "encoder.embeddings.token_type_embeddings.weight" in weights.state:
        position = position + weights["encoder.embeddings.token_type_embeddings.weight"][0]
    result: dict[str, NDArray[Any]] = {"word": word, "word_scale": word_scale, "position": position}
    result |= weights.norm("embedding_norm", "encoder.embeddings.LayerNorm")
    for layer in range(shape.num_hidden_layers):
        parts = {name: f"encoder.{path}".format(layer) for name, path in PARTS[config.model_type].items()}
        result |= weights.linear(f"{layer}.query_key_value", parts["query"], parts["key"], parts["value"])
        for name in ("attention_output", "expand", "contract"):
            result |= weights.linear(f"{layer}.{name}", parts[name])
        for name in ("attention_norm", "output_norm"):
            result |= weights.norm(f"{layer}.{name}", parts[name])
    for number, layer in enumerate(model.exit_layers):
        result |= weights.norm(f"head_{layer}", f"early_heads.{number}")
    return result | weights.norm(f"head_{shape.num_hidden_layers}", "head")


def quantized(weight: Floats) -> tuple[NDArray[np.int8], Floats]:
    """Return a matrix as int8 and the scale of each row; the largest absolute value of a row maps to 127."""
    scale = np.abs(weight).max(axis=1) / np.float32(127)
    scale[scale == 0] = 1
    return np.rint(weight / scale[:, None]).astype(np.int8), scale.astype(np.float32)


class _Weights:
    """The weights of a classifier by name, in the layout of the kernels."""

    def __init__(self, model: TextClassifier) -> None:
        self.state: dict[str, torch.Tensor] = model.state_dict()

    def __getitem__(self, name: str) -> Floats:
        weight: Floats = self.state[name].to(torch.float32).contiguous().numpy()
        return weight

    def linear(self, name: str, *layers: str) -> dict[str, NDArray[Any]]:
        """Return several linear layers as a single one with concatenated outputs."""
        weight, scale = quantized(np.concatenate([self[f"{layer}.weight"] for layer in layers]))
        bias = np.concatenate([self[f"{layer}.bias"] for layer in layers])
        return {f"{name}.weight": weight, f"{name}.scale": scale, f"{name}.bias": bias}

    def norm(self, name: str, layer: str) -> dict[str, NDArray[Any]]:
        """Return a layer's float weight and bias."""
        return {f"{name}.weight": self[f"{layer}.weight"], f"{name}.bias": self[f"{layer}.bias"]}


def _first_position(config: Any) -> int:
    return int(config.pad_token_id) + 1 if config.model_type in POSITIONS_AFTER_PADDING else 0
