"""Answers that were given before. Only a digest of the text is kept, never the text."""

import hashlib
import threading
from collections import OrderedDict
from typing import Generic, TypeVar

Answer = TypeVar("Answer")


class AnswerCache(Generic[Answer]):
    """The answers to the most recently asked texts, at most `size` of them. Safe to share between threads.

    A cache belongs to one loaded model, so the model's version is not part of the key; what else changes an answer,
    such as how long texts are read, is.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._answers: OrderedDict[bytes, Answer] = OrderedDict()
        self._guard = threading.Lock()

    @staticmethod
    def key(text: str, *options: object) -> bytes:
        """Return the 128-bit digest of a text and the options that change its answer.

        Digests of different texts collide with a probability of about 1e-29 for 100,000 texts.
        """
        return hashlib.blake2b(f"{options}\0{text}".encode(), digest_size=16).digest()

    def get(self, key: bytes) -> Answer | None:
        """Return the answer kept under `key`, and keep it longer."""
        with self._guard:
            answer = self._answers.get(key)
            if answer is not None:
                self._answers.move_to_end(key)
            return answer

    def put(self, key: bytes, answer: Answer) -> None:
        """Keep an answer; the one asked for longest ago leaves when there is no room."""
        if self.size == 0:
            return
        with self._guard:
            self._answers[key] = answer
            self._answers.move_to_end(key)
            if len(self._answers) > self.size:
                self._answers.popitem(last=False)

    def __len__(self) -> int:
        return len(self._answers)
