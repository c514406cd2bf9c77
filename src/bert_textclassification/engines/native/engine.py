"""The native engine: an int8 BERT encoder with compiled kernels for this processor.

Weights have one scale per output; activations have one scale and offset per token, computed from that token alone.
So a text's logits do not depend on the other texts of the call, bit by bit; no padding or calibration is needed.

The file format is safetensors; its metadata has an `Architecture`, which determines the tensors' names.
"""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open

from bert_textclassification.engines.base import Engine, Outputs, Scheduler, run_inline
from bert_textclassification.errors import ArtifactError, EngineUnavailableError

try:
    from bert_textclassification.engines.native import _native
except ImportError:  # installed without a compiler
    _native = None  # type: ignore[assignment]

TOKENS_PER_BATCH = 128  # more gain nothing, and a longer batch delays the others in the queue
METADATA = "architecture"


class Architecture(BaseModel):
    """The architecture of an encoder, with the names of BERT's configuration.

    Attributes:
        exit_layers: layers followed by a classification layer, counted from 1; the last layer is always one of them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    # The second name of each is its name in files from before the first release.
    num_hidden_layers: int = Field(validation_alias=AliasChoices("num_hidden_layers", "layers"))
    hidden_size: int = Field(validation_alias=AliasChoices("hidden_size", "hidden"))
    num_attention_heads: int = Field(validation_alias=AliasChoices("num_attention_heads", "heads"))
    intermediate_size: int = Field(validation_alias=AliasChoices("intermediate_size", "expanded"))
    vocab_size: int = Field(validation_alias=AliasChoices("vocab_size", "words"))
    max_position_embeddings: int = Field(validation_alias=AliasChoices("max_position_embeddings", "positions"))
    layer_norm_eps: float = Field(validation_alias=AliasChoices("layer_norm_eps", "epsilon"))
    exit_layers: tuple[int, ...] = Field(validation_alias=AliasChoices("exit_layers", "after"))

    def tensors(self) -> Iterator[str]:
        """Yield the names of the tensors in the order of the C module's arguments."""
        yield from ("word", "word_scale", "position", *_norm("embedding_norm"))
        for layer in range(self.num_hidden_layers):
            yield from _linear(f"{layer}.query_key_value")
            yield from _linear(f"{layer}.attention_output")
            yield from _norm(f"{layer}.attention_norm")
            yield from _linear(f"{layer}.expand")
            yield from _linear(f"{layer}.contract")
            yield from _norm(f"{layer}.output_norm")
        for layer in self.exit_layers:
            yield from _norm(f"head_{layer}")


def _linear(name: str) -> tuple[str, str, str]:
    return f"{name}.weight", f"{name}.scale", f"{name}.bias"


def _norm(name: str) -> tuple[str, str]:
    return f"{name}.weight", f"{name}.bias"


def read_architecture(path: Path) -> Architecture:
    """Return the architecture of the encoder in the file at `path`.

    Raises:
        ArtifactError: the file is not such a model.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            return Architecture.model_validate_json((file.metadata() or {}).get(METADATA, ""))
    except (SafetensorError, ValidationError) as problem:
        raise ArtifactError(f"The native engine cannot load {path}: {problem}") from None


def instructions() -> list[str]:
    """Return this processor's instruction sets for which there are kernels, fastest first."""
    names: list[str] = [] if _native is None else _native.instructions()
    return names


def measure_peak(seconds: float = 0.5) -> float:
    """Measure the peak int8 operations per second of one core: the fastest kernels on data in the L1 cache.

    As usual, a product and its addition are two operations.

    Raises:
        EngineUnavailableError: this installation has no compiled kernels.
    """
    if _native is None:
        raise EngineUnavailableError("The native engine is not compiled here; install where there is a C compiler.")
    best, tiles, end = 0.0, 1000, time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        products: int = _native.multiply(instructions()[0], tiles)
        best = max(best, 2 * products / (time.perf_counter() - start))
    return best


class NativeEngine(Engine):
    """An encoder that runs in the compiled kernels."""

    def __init__(
        self, path: Path, threads: int = 1, instruction_set: str | None = None, exit_thresholds: Sequence[float] = ()
    ) -> None:
        """Load the model at `path`.

        Args:
            path: a safetensors file as described in the module docstring.
            threads: cores that one call may use.
            instruction_set: one of `instructions()`; the fastest when None.
            exit_thresholds: one for each classification layer except the last. A text exits at the first one where its
                two logits differ by at least the threshold. When empty, every text runs through all layers.

        Raises:
            ArtifactError: the file is not such a model.
            EngineUnavailableError: this installation has no compiled kernels, or none for the instruction set.
        """
        if _native is None:
            raise EngineUnavailableError(
                "The native engine is not compiled here; install the package where there is a C compiler, or serve "
                "another variant with MODEL_VARIANT."
            )
        if instruction_set is not None and instruction_set not in instructions():
            raise EngineUnavailableError(
                f"This processor has no kernels for {instruction_set!r}; choose one of: {', '.join(instructions())}."
            )
        architecture = read_architecture(path)
        try:
            with safe_open(path, framework="numpy") as file:
                tensors = [np.ascontiguousarray(file.get_tensor(name)) for name in architecture.tensors()]
            self._encoder = _native.Encoder(
                **architecture.model_dump(), tensors=tensors, instructions=instruction_set or instructions()[0]
            )
        except (SafetensorError, ValueError) as problem:
            raise ArtifactError(f"The native engine cannot load {path}: {problem}") from None
        if exit_thresholds and len(exit_thresholds) != len(architecture.exit_layers) - 1:
            exits = len(architecture.exit_layers) - 1
            raise ArtifactError(f"{path} has {exits} early exits, not {len(exit_thresholds)}; copy it again.")
        self._exit_layers = np.array(architecture.exit_layers, dtype=np.int32)
        self._exits_early = bool(exit_thresholds)
        self._exit_thresholds = np.array(
            exit_thresholds or [np.inf] * (len(architecture.exit_layers) - 1), dtype=np.float32
        )
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None

    def run(self, token_ids: Sequence[Sequence[int]], scheduler: Scheduler = run_inline) -> Outputs:
        """Run the model; see `Engine.run`."""
        logits = np.empty((len(token_ids), 2), dtype=np.float32)
        exit_index = np.empty(len(token_ids), dtype=np.int32)
        run = partial(self._run_batch, token_ids, logits, exit_index, scheduler)
        batches = batches_by_tokens(token_ids)
        for _ in self._pool.map(run, batches) if self._pool else map(run, batches):
            pass
        return Outputs(logits, self._exit_layers[exit_index], exit_index) if self._exits_early else Outputs(logits)

    def _run_batch(
        self,
        token_ids: Sequence[Sequence[int]],
        logits: NDArray[np.float32],
        exit_index: NDArray[np.int32],
        scheduler: Scheduler,
        batch: slice,
    ) -> None:
        texts = token_ids[batch]
        ids = np.array([token_id for text in texts for token_id in text], dtype=np.int32)
        lengths = np.array([len(text) for text in texts], dtype=np.int32)
        scheduler(partial(self._encoder.run, ids, lengths, self._exit_thresholds, logits[batch], exit_index[batch]))


def batches_by_tokens(token_ids: Sequence[Sequence[int]]) -> Iterator[slice]:
    """Yield slices of texts with up to TOKENS_PER_BATCH tokens in total, or of one longer text."""
    start = tokens = 0
    for index, ids in enumerate(token_ids):
        if tokens + len(ids) > TOKENS_PER_BATCH and index > start:
            yield slice(start, index)
            start, tokens = index, 0
        tokens += len(ids)
    if start < len(token_ids):
        yield slice(start, len(token_ids))
