"""The native engine: a BERT encoder in int8, compiled for this processor (`native/`).

Weights have one scale an output, activations one scale and offset a token, taken from that token alone. So a text's
logits are the same bit by bit whatever else is in the call, nothing is padded, and nothing has to be calibrated.

The file is safetensors; its metadata has an `Architecture`, which names the tensors.
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

TOKENS_AT_ONCE = 128  # of several texts: more gain nothing, and every batch holds up the others in the queue
METADATA = "architecture"


class Architecture(BaseModel):
    """The shape of an encoder, with the names of BERT's configuration.

    Attributes:
        exit_layers: layers that a classification layer follows, counted from 1; the last layer is always one of them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    # The second name of each is the one in files of before the first release.
    num_hidden_layers: int = Field(validation_alias=AliasChoices("num_hidden_layers", "layers"))
    hidden_size: int = Field(validation_alias=AliasChoices("hidden_size", "hidden"))
    num_attention_heads: int = Field(validation_alias=AliasChoices("num_attention_heads", "heads"))
    intermediate_size: int = Field(validation_alias=AliasChoices("intermediate_size", "expanded"))
    vocab_size: int = Field(validation_alias=AliasChoices("vocab_size", "words"))
    max_position_embeddings: int = Field(validation_alias=AliasChoices("max_position_embeddings", "positions"))
    layer_norm_eps: float = Field(validation_alias=AliasChoices("layer_norm_eps", "epsilon"))
    exit_layers: tuple[int, ...] = Field(validation_alias=AliasChoices("exit_layers", "after"))

    def tensors(self) -> Iterator[str]:
        """Yield the names of the tensors in the order in which the kernels take them."""
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
    """Return the shape of the encoder in the file at `path`.

    Raises:
        ArtifactError: the file is not such a model.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            return Architecture.model_validate_json((file.metadata() or {}).get(METADATA, ""))
    except (SafetensorError, ValidationError) as problem:
        raise ArtifactError(f"The native engine cannot load {path}: {problem}") from None


def instructions() -> list[str]:
    """Return the instruction sets of this processor that there are kernels for, fastest first; empty without any."""
    found: list[str] = [] if _native is None else _native.instructions()
    return found


def measure_peak(seconds: float = 0.5) -> float:
    """Return how many int8 operations a second one core does at best, in the fastest kernels, from its first cache.

    A product and its addition are two operations, as is usual.

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
    """An encoder in the compiled kernels."""

    def __init__(
        self, path: Path, threads: int = 1, instruction_set: str | None = None, exit_thresholds: Sequence[float] = ()
    ) -> None:
        """Load the model at `path`.

        Args:
            path: a safetensors file as described above.
            threads: cores that one call may use.
            instruction_set: one of `instructions()`; the fastest when None.
            exit_thresholds: one for each classification layer but the last. A text exits at the first where its two
                logits differ by at least the threshold. When empty, every text runs through all layers.

        Raises:
            ArtifactError: the file is not such a model.
            EngineUnavailableError: this installation has no compiled kernels, or not for the instruction set.
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
        shape = read_architecture(path)
        try:
            with safe_open(path, framework="numpy") as file:
                tensors = [np.ascontiguousarray(file.get_tensor(name)) for name in shape.tensors()]
            self._encoder = _native.Encoder(
                **shape.model_dump(), tensors=tensors, instructions=instruction_set or instructions()[0]
            )
        except (SafetensorError, ValueError) as problem:
            raise ArtifactError(f"The native engine cannot load {path}: {problem}") from None
        if exit_thresholds and len(exit_thresholds) != len(shape.exit_layers) - 1:
            raise ArtifactError(
                f"{path} has {len(shape.exit_layers) - 1} early exits and not {len(exit_thresholds)}; copy it again."
            )
        self._exit_layers = np.array(shape.exit_layers, dtype=np.int32)
        self._exits_early = bool(exit_thresholds)
        self._exit_thresholds = np.array(exit_thresholds or [np.inf] * (len(shape.exit_layers) - 1), dtype=np.float32)
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
        ids = np.array([one for text in texts for one in text], dtype=np.int32)
        lengths = np.array([len(text) for text in texts], dtype=np.int32)
        scheduler(partial(self._encoder.run, ids, lengths, self._exit_thresholds, logits[batch], exit_index[batch]))


def batches_by_tokens(token_ids: Sequence[Sequence[int]]) -> Iterator[slice]:
    """Yield slices of texts that have up to TOKENS_AT_ONCE tokens together, or of one text that has more."""
    start = tokens = 0
    for index, ids in enumerate(token_ids):
        if tokens + len(ids) > TOKENS_AT_ONCE and index > start:
            yield slice(start, index)
            start, tokens = index, 0
        tokens += len(ids)
    if start < len(token_ids):
        yield slice(start, len(token_ids))
