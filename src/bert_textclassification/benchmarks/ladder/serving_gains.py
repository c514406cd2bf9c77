"""What serving gains beside the model itself: bulk requests, the answer cache, a fast start."""

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
    """Return how much faster one call with many texts is than a call for each, and by how much their scores differ."""
    predictor = Predictor(artifact)
    many = different_texts(texts, BULK_TEXTS, seed=0)
    gains, difference = [], 0.0
    for part in progress(range(BULK_PARTS), desc="bulk", unit="part"):
        some = many[part::BULK_PARTS]
        alone, seconds_alone = timed(partial(one_by_one, predictor, some))
        together, seconds_together = timed(partial(predictor.predict, some))
        gains.append(seconds_alone / seconds_together)
        difference = max(difference, *(abs(a.score - b.score) for a, b in zip(alone, together, strict=True)))
    return median_with_range(gains) | {"texts": BULK_TEXTS, "largest_score_difference": difference}


def bulk_gain_over_http(artifact: Artifact, texts: Sequence[str]) -> dict[str, float]:
    """Return how much faster a text is in one request with many than in a request of its own, on one connection."""
    many = different_texts(texts, BULK_TEXTS, seed=0)
    gains = []
    with LocalServer(SERVE, artifact.folder, CACHE_SIZE="0", REQUEST_TIMEOUT_S="55") as server:
        for part in progress(range(HTTP_ROUNDS), desc="bulk over HTTP", unit="round"):
            alone = statistics.mean(time_requests(server.port, many[part::BULK_PARTS])["samples"]) / 1000
            _, together = timed(partial(server.predict, many))
            gains.append(alone / (together / len(many)))
    return median_with_range(gains)


def seconds_to_first_prediction(artifact: Artifact) -> dict[str, float]:
    """Return how long new processes take from the artifact to a prediction, the imports included, the files cached."""
    code = (
        "import sys, time; start = time.perf_counter()\n"
        "from bert_textclassification import Predictor\n"
        "Predictor.load(sys.argv[1]).predict(['the first text'])\n"
        "print(time.perf_counter() - start)"
    )
    command = [sys.executable, "-c", code, str(artifact.folder)]
    runs = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(STARTS + 1)]
    return median_with_range([float(one) for one in runs[1:]])


def cache_gain(artifact: Artifact, texts: Sequence[str], rounds: int) -> dict[str, float]:
    """Return the share of answers that the cache has on a Zipf-distributed stream, and the gain over no cache."""
    stream = zipf_stream(texts, ZIPF_REQUESTS, seed=0)
    gains, hits = [], 0
    plain = Predictor(artifact)
    for _ in range(rounds):
        cached = Predictor(artifact, cache_size=len(stream))
        _, without = timed(partial(one_by_one, plain, stream))
        found, seconds = timed(partial(one_by_one, cached, stream))
        gains.append(without / seconds)
        hits = sum(one.cached for one in found)
    facts = {"exponent": ZIPF_EXPONENT, "requests": len(stream), "different_texts": len(texts)}
    return median_with_range(gains) | facts | {"hit_share": hits / len(stream)}


def different_texts(texts: Sequence[str], count: int, seed: int) -> list[str]:
    """Return `count` texts, no two alike: those given, then their words in other orders, which keeps the lengths."""
    generator = random.Random(seed)  # noqa: S311 - a sample, not a secret
    given = list(dict.fromkeys(texts))
    found = dict.fromkeys(given[:count])
    while len(found) < count:
        words = generator.choice(given).split()
        generator.shuffle(words)
        text = " ".join(words)
        found[text if text not in found else f"{text} {len(found)}"] = None
    return generator.sample(list(found), count)


def one_by_one(predictor: Predictor, texts: Sequence[str]) -> list[Prediction]:
    """Return the predictions of a call for each text."""
    return [predictor.predict([text])[0] for text in texts]


def timed(work: Callable[[], Result]) -> tuple[Result, float]:
    """Return the result of `work` and the seconds that it took."""
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def zipf_stream(texts: Sequence[str], requests: int, seed: int) -> list[str]:
    """Return `requests` texts, drawn by Zipf's law: that of rank r in proportion to 1 / r^s, ranks at random."""
    generator = random.Random(seed)  # noqa: S311 - a sample, not a secret
    ranked = list(texts)
    generator.shuffle(ranked)
    return generator.choices(ranked, [rank**-ZIPF_EXPONENT for rank in range(1, len(ranked) + 1)], k=requests)
