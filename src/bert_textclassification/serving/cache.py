"""An LRU cache of model outputs. It stores a digest of each text, never the text."""

import hashlib
import threading
from collections import OrderedDict
from typing import Generic, TypeVar

Output = TypeVar("Output")


class OutputCache(Generic[Output]):
    """The model's outputs for the `size` most recently used texts. Safe to share between threads.

    A cache belongs to one loaded model, so the model's version is not part of the key. Options that change the output,
    such as the truncation, are part of it.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._outputs: OrderedDict[bytes, Output] = OrderedDict()
        self._guard = threading.Lock()

    @staticmethod
    def key(text: str, *options: object) -> bytes:
        """Return the 128-bit digest of a text and of the options that change its output.

        Digests of different texts collide with a probability of about 1e-29 for 100,000 texts.
        """
        return hashlib.blake2b(f"{options}\0{text}".encode(), digest_size=16).digest()

    def get(self, key: bytes) -> Output | None:
        """Return the output stored under `key` and mark it as most recently used; None without one."""
        with self._guard:
            output = self._outputs.get(key)
            if output is not None:
                self._outputs.move_to_end(key)
            return output

    def put(self, key: bytes, output: Output) -> None:
        """Store an output; evict the least recently used one if the cache is full."""
        if self.size == 0:
            return
        with self._guard:
            self._outputs[key] = output
            self._outputs.move_to_end(key)
            if len(self._outputs) > self.size:
                self._outputs.popitem(last=False)

    def __len__(self) -> int:
        return len(self._outputs)
