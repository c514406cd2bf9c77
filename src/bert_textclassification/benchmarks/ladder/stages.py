"""The stages of the ladder: ways to classify texts, from BERT-base in FP32 padded to 128 tokens to the served model.

A stage imports its libraries when it is loaded, because its resident memory is measured in a separate process:

    echo "a joy" | python -m bert_textclassification.benchmarks.ladder.stages runs/sst2/model int8    # bytes
"""

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from bert_textclassification.artifact.store import Artifact
from bert_textclassification.engines.native.engine import Architecture, read_architecture
from bert_textclassification.errors import ArtifactError
from bert_textclassification.serving.predictor import Predictor, load_tokenizer

Answer = Callable[[str], Any]
PADDED_BASE, TORCH, ALL_CORES, CACHED = "torch base, padded", "torch", "int8, all cores", "answer cache"
REFERENCE, INT8, EARLY, STUDENT = "fp32", "int8", "int8_early", "int8_student"
SERVED = {
    REFERENCE: "FP32 in ONNX Runtime",
    "int8_onnx": "int8 in ONNX Runtime",
    INT8: "int8 in the native engine",
    EARLY: "int8 in the native engine, with early exits",
    STUDENT: "int8 in the native engine, a distilled student",
}
PADDED_TO = 128  # tokens, as in the article by Roblox (2020)
CACHE_SIZE = 100_000
_WORDS, _POSITIONS = 30_522, 512  # vocabulary size and maximum positions of BERT-base


@dataclass(frozen=True)
class Stage:
    """One way to classify texts.

    Attributes:
        name: for tables and for the command line.
        note: a short description.
        load: returns the function that classifies one text.
        shape: of the encoder.
        disk_bytes: size of the model file; for random weights, the size that the file would have.
        variant: the variant of the artifact whose accuracy and agreement apply; None for random weights.
        padded: length in tokens that every text is padded to; 0 for no padding.
        threads: number of parallel threads.
    """

    name: str
    note: str
    load: Callable[[], Answer]
    shape: Architecture
    disk_bytes: int
    variant: str | None = None
    padded: int = 0
    threads: int = 1


def stages(artifact: Artifact, cores: int) -> list[Stage]:
    """Return the stages that this artifact has, slowest first.

    Raises:
        ArtifactError: it lacks the native variant.
    """
    if "int8" not in artifact.manifest.variants:
        reason = artifact.manifest.not_built.get("int8", "")
        raise ArtifactError(f"{artifact.folder} has no variant int8 for the native engine. {reason}")
    model = read_architecture(artifact.model_path("int8"))
    uncached = [*_torch_stages(artifact, model), *_served_stages(artifact, model, cores)]
    default = artifact.manifest.default_variant
    plain = next(stage for stage in uncached if stage.name == default)
    note = f"{default}, the default, with the cache, on a Zipf-distributed stream"
    load = served_answer(artifact, default, CACHE_SIZE)
    return [*uncached, replace(plain, name=CACHED, note=note, load=load)]


def _torch_stages(artifact: Artifact, model: Architecture) -> list[Stage]:
    base, distil = _bert(12, model), _bert(6, model)
    kinds: list[tuple[str, str, Architecture, str | None, int]] = [
        (PADDED_BASE, f"BERT-base size, FP32 in torch, padded to {PADDED_TO}", base, None, PADDED_TO),
        ("torch base", "BERT-base size, FP32 in torch, not padded", base, None, 0),
        ("torch distil", "DistilBERT size, FP32 in torch, not padded", distil, None, 0),
        (
            TORCH,
            f"this model's size ({model.num_hidden_layers} x {model.hidden_size}), FP32 in torch, not padded",
            model,
            REFERENCE,
            0,
        ),
    ]
    return [
        Stage(name, note, partial(torch_answer, artifact, shape, padded), shape, 4 * parameters(shape), variant, padded)
        for name, note, shape, variant, padded in kinds
    ]


def _served_stages(artifact: Artifact, model: Architecture, cores: int) -> Iterator[Stage]:
    for name, note in SERVED.items():
        if name not in artifact.manifest.variants:
            continue
        size = artifact.manifest.variants[name].size_bytes
        shape = read_architecture(artifact.model_path(name)) if name == STUDENT else model
        stage = Stage(name, note, served_answer(artifact, name), shape, size, name)
        yield stage
        if name == INT8:
            yield replace(stage, name=ALL_CORES, note=f"int8 in the native engine, {cores} threads", threads=cores)


def served_answer(artifact: Artifact, variant: str, cache_size: int = 0) -> Callable[[], Answer]:
    """Return a function that loads a variant as the server does and returns its predict function."""

    def load() -> Answer:
        predictor = Predictor(artifact, variant, cache_size=cache_size)
        return lambda text: predictor.predict([text])

    return load


def torch_answer(artifact: Artifact, shape: Architecture, padded: int = 0) -> Answer:
    """Return the function of an FP32 torch model of `shape` with random weights; they do not affect the time."""
    import torch
    from transformers import BertConfig, BertModel

    from bert_textclassification.training.modeling.classifier import TextClassifier

    config = BertConfig(
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.num_hidden_layers,
        num_attention_heads=shape.num_attention_heads,
        intermediate_size=shape.intermediate_size,
        max_position_embeddings=shape.max_position_embeddings,
    )
    model = TextClassifier(BertModel(config, add_pooling_layer=False), dropout=0.0).eval()
    tokenizer = load_tokenizer(artifact.tokenizer_path(), padded or artifact.manifest.max_length)
    if padded:
        tokenizer.enable_padding(length=padded)

    def answer(text: str) -> Any:
        encoded = tokenizer.encode(text)
        with torch.inference_mode():
            return model(torch.tensor([encoded.ids]), torch.tensor([encoded.attention_mask])).logits.softmax(dim=-1)

    return answer


def operations(shape: Architecture, tokens: int) -> int:
    """Return the number of additions and multiplications in the matrix products of a text."""
    weights = 4 * shape.hidden_size**2 + 2 * shape.hidden_size * shape.intermediate_size
    return 2 * shape.num_hidden_layers * tokens * (weights + 2 * tokens * shape.hidden_size)


def parameters(shape: Architecture) -> int:
    """Return the number of parameters of the encoder."""
    layer = (
        4 * shape.hidden_size**2
        + 2 * shape.hidden_size * shape.intermediate_size
        + 9 * shape.hidden_size
        + shape.intermediate_size
    )
    return (shape.vocab_size + shape.max_position_embeddings + 4) * shape.hidden_size + shape.num_hidden_layers * layer


def resident_bytes() -> int:
    """Return the resident memory of this process in bytes (Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _bert(layers: int, model: Architecture) -> Architecture:
    return model.model_copy(
        update={
            "num_hidden_layers": layers,
            "hidden_size": 768,
            "num_attention_heads": 12,
            "intermediate_size": 3072,
            "vocab_size": max(_WORDS, model.vocab_size),
            "max_position_embeddings": max(_POSITIONS, model.max_position_embeddings),
            "exit_layers": (layers,),
        }
    )


def main(folder: str, name: str) -> None:
    """Load a stage, classify the texts on standard input, and print the resident memory in bytes."""
    answer = next(stage for stage in stages(Artifact.load(folder), cores=1) if stage.name == name).load()
    for line in sys.stdin:
        answer(line.rstrip("\n"))
    print(resident_bytes())


if __name__ == "__main__":
    main(*sys.argv[1:])
