"""ONNX Runtime as an engine: for FP32, and for int8 where the native engine cannot run."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from bert_textclassification.engines.base import Engine, Outputs, Scheduler, run_inline
from bert_textclassification.errors import ArtifactError


class OnnxEngine(Engine):
    """An ONNX Runtime session.

    Parallelism comes from concurrent calls: on two cores, two Python threads on one session reached 426 texts a second,
    two processes 400, and two intra-op threads gained nothing.
    """

    def __init__(self, path: Path, batch_size: int, threads: int = 1) -> None:
        """Load the model at `path`.

        Args:
            path: an ONNX file with the inputs input_ids and attention_mask and the output logits.
            batch_size: maximum number of texts per batch. It must be 1 for a model with int8 scales per batch, whose
                scores would otherwise depend on the other texts of the batch.
            threads: cores that one call may use.

        Raises:
            ArtifactError: ONNX Runtime cannot load the file.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._batch_size = batch_size
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as problem:  # ONNX Runtime's exception classes share no public base
            raise ArtifactError(f"ONNX Runtime cannot load {path}: {problem}") from problem

    def run(self, token_ids: Sequence[Sequence[int]], scheduler: Scheduler = run_inline) -> Outputs:
        """Run the model; see `Engine.run`.

        Texts run in batches of similar length, padded to the longest text of the batch.
        """
        result = np.empty((len(token_ids), 2), dtype=np.float32)
        for batch in batches_by_length(token_ids, self._batch_size):
            result[batch] = scheduler(partial(self._run, [token_ids[index] for index in batch]))
        return Outputs(result)

    def _run(self, batch: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        longest = max(len(ids) for ids in batch)
        input_ids = np.zeros((len(batch), longest), dtype=np.int64)
        attention_mask = np.zeros_like(input_ids)
        for row, ids in enumerate(batch):
            input_ids[row, : len(ids)] = ids
            attention_mask[row, : len(ids)] = 1
        feed = {"input_ids": input_ids, "attention_mask": attention_mask}
        logits: NDArray[np.float32] = self._session.run(["logits"], feed)[0]
        return logits


def batches_by_length(token_ids: Sequence[Sequence[int]], batch_size: int) -> Iterator[list[int]]:
    """Yield the indices of `token_ids` in batches of at most `batch_size` texts of similar length."""
    by_length = sorted(range(len(token_ids)), key=lambda index: len(token_ids[index]))
    for start in range(0, len(by_length), batch_size):
        yield by_length[start : start + batch_size]
