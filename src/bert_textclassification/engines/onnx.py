"""ONNX Runtime as an engine: FP32, and int8 where the native engine cannot run."""

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

    Two Python threads on one session measured 426 texts a second on two cores where two processes reached 400 and
    two intra-op threads gained nothing, so parallelism comes from concurrent calls.
    """

    def __init__(self, path: Path, batch_size: int, threads: int = 1) -> None:
        """Load the model at `path`.

        Args:
            path: an ONNX file with the inputs input_ids and attention_mask and the output logits.
            batch_size: most texts to run together. A model whose int8 scales are taken from the whole batch must run
                one at a time, or a text's score depends on its neighbours.
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
        """Return what every engine does.

        Texts run in batches with others of about their length, padded to the longest of their own batch only.
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
    """Yield the indices of `token_ids` in batches of at most `batch_size`, each of texts of about one length."""
    by_length = sorted(range(len(token_ids)), key=lambda index: len(token_ids[index]))
    for start in range(0, len(by_length), batch_size):
        yield by_length[start : start + batch_size]
