"""Gains of serving that do not depend on the model: bulk requests, the cache of predictions, a fast start."""

import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from bert_textclassification.artifact.store import Artifact
from bert_textclassification.benchmarks.local_server import LocalServer
from bert_textclassification.benchmarks.request_latency import time_requests
from bert_textclassification.serving.predictor import Prediction, Predictor
from bert_textclassification.serving.stack import supervisor
from bert_textclassification.training.display.progress import progress
from bert_textclassification.training.export.timing import median_with_range

BULK_TEXTS, BULK_PARTS = 10_000, 10
ZIPF_EXPONENT, ZIPF_REQUESTS = 1.0, 2000
HTTP_ROUNDS = 3
STARTS = 7
SERVE = Path(supervisor.__file__)
Result = TypeVar("Result")


def bulk_gain(artifact: Artifact, texts: Sequence[str]) -> dict[str, float]:
    """Return the speed-up of one call with many texts over a call per text, and the largest difference of scores."""
    predictor = Predictor(artifact)
    many = different_texts(texts, BULK_TEXTS, seed=0)
    gains, difference = [], 0.0
    for part in progress(range(BULK_PARTS), desc="bulk", unit="part"):
        batch = many[part::BULK_PARTS]
        alone, seconds_alone = timed(partial(one_by_one, predictor, batch))
        together, seconds_together = timed(partial(predictor.predict, batch))
        gains.append(seconds_alone / seconds_together)
        difference = max(difference, *(abs(a.score - b.score) for a, b in zip(alone, together, strict=True)))
    return median_with_range(gains) | {"texts": BULK_TEXTS, "largest_score_difference": difference}


def bulk_gain_over_http(artifact: Artifact, texts: Sequence[str]) -> dict[str, float]:
    """Return the speed-up per text of one request with many texts over a request per text, on one connection."""
    many = different_texts(texts, BULK_TEXTS, seed=0)
    gains = []
    with LocalServer(SERVE, artifact.folder, CACHE_SIZE="0", REQUEST_TIMEOUT_S="55") as server:
        for part in progress(range(HTTP_ROUNDS), desc="bulk over HTTP", unit="round"):
            alone = statistics.mean(time_requests(server.port, many[part::BULK_PARTS])["samples"]) / 1000
            _, together = timed(partial(server.predict, many))
            gains.append(alone / (together / len(many)))
    return median_with_range(gains)


def seconds_to_first_prediction(artifact: Artifact) -> dict[str, float]:
    """Return the seconds of a new process until its first prediction, including imports, with the files cached."""
    code = (
        "import sys, time; start = time.perf_counter()\n"
        "from bert_textclassification import Predictor\n"
        "Predictor.load(sys.argv[1]).predict(['the first text'])\n"
        "print(time.perf_counter() - start)"
    )
    command = [sys.executable, "-c", code, str(artifact.folder)]
    runs = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(STARTS + 1)]
    return median_with_range([float(seconds) for seconds in runs[1:]])


def cache_gain(artifact: Artifact, texts: Sequence[str], rounds: int) -> dict[str, float]:
    """Return the hit rate of the cache on a Zipf-distributed stream, and the speed-up over no cache."""
    stream = zipf_stream(texts, ZIPF_REQUESTS, seed=0)
    gains, hits = [], 0
    plain = Predictor(artifact)
    for _ in range(rounds):
        cached = Predictor(artifact, cache_size=len(stream))
        _, without = timed(partial(one_by_one, plain, stream))
        predictions, seconds = timed(partial(one_by_one, cached, stream))
        gains.append(without / seconds)
        hits = sum(prediction.cached for prediction in predictions)
    facts = {"exponent": ZIPF_EXPONENT, "requests": len(stream), "different_texts": len(texts)}
    return median_with_range(gains) | facts | {"hit_share": hits / len(stream)}


def different_texts(texts: Sequence[str], count: int, seed: int) -> list[str]:
    """Return `count` different texts: the given ones, then shuffles of their words, which have the same lengths."""
    generator = random.Random(seed)  # noqa: S311 - a sample, not a secret
    given = list(dict.fromkeys(texts))
    different = dict.fromkeys(given[:count])
    while len(different) < count:
        words = generator.choice(given).split()
        generator.shuffle(words)
        text = " ".join(words)
        different[text if text not in different else f"{text} {len(different)}"] = None
    return generator.sample(list(different), count)


def one_by_one(predictor: Predictor, texts: Sequence[str]) -> list[Prediction]:
    """Return the predictions of one call per text."""
    return [predictor.predict([text])[0] for text in texts]


def timed(work: Callable[[], Result]) -> tuple[Result, float]:
    """Return the result of `work` and its seconds."""
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def zipf_stream(texts: Sequence[str], requests: int, seed: int) -> list[str]:
    """Return `requests` texts drawn by Zipf's law: the probability of rank r is proportional to 1 / r^s."""
    generator = random.Random(seed)  # noqa: S311 - a sample, not a secret
    ranked = list(texts)
    generator.shuffle(ranked)
    return generator.choices(ranked, [rank**-ZIPF_EXPONENT for rank in range(1, len(ranked) + 1)], k=requests)
