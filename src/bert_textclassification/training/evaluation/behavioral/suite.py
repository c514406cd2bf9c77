"""Run behavioural tests on a model and report their failure rates.

    outcomes = run_suite(load_suite(config, splits.labels), splits, scorer, config.seed)
    behaviour_table(outcomes)

After CheckList (Ribeiro et al. 2020).
"""

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import binomtest

from bert_textclassification.artifact.manifest import BehaviourResult
from bert_textclassification.training.data.splits import Splits
from bert_textclassification.training.display.tables import markdown_table, percent
from bert_textclassification.training.evaluation.behavioral.file import (
    Directional,
    Invariance,
    Suite,
    Test,
    templates_of,
)
from bert_textclassification.training.evaluation.behavioral.templates import TEXT, fill_templates

MAX_CASES = 100  # per pair or text; more are sampled
MAX_DRAWS = 20 * MAX_CASES  # filled templates to try per pair or text: a change may leave most texts unchanged
EXAMPLES = 3

Scorer = Callable[[Sequence[str]], NDArray[np.float64]]  # texts -> positive-class scores
Case = tuple[str, ...]  # one text, or the texts before and after a change


@dataclass(frozen=True)
class Outcome:
    """The outcome of one behavioural test.

    Attributes:
        result: name, kind, cases and failures.
        examples: the first failures, with the positive-class score of each text.
    """

    result: BehaviourResult
    examples: list[str]


def run_suite(suite: Suite, splits: Splits, scorer: Scorer, seed: int, threshold: float = 0.5) -> list[Outcome]:
    """Run the tests and return their outcomes in order.

    Args:
        suite: the tests.
        splits: source of the labels and of the texts (the test split).
        scorer: the model.
        seed: for drawing texts and changes.
        threshold: lowest score for the positive label.
    """
    lists = {**suite.lists, TEXT: _texts(splits, seed)}
    cases = {test.name: list(_cases(test, lists, seed)) for test in suite.tests}
    texts = list(dict.fromkeys(chain.from_iterable(chain.from_iterable(cases.values()))))
    scores = dict(zip(texts, scorer(texts).tolist(), strict=True)) if texts else {}
    return [_outcome(test, cases[test.name], scores, splits.labels, threshold) for test in suite.tests]


def fails(test: Test, scores: Sequence[float], labels: tuple[str, str], threshold: float) -> bool:
    """Return whether a case, one text or a pair with these positive-class scores, fails `test`."""
    if isinstance(test, Invariance):
        return (scores[0] >= threshold) != (scores[1] >= threshold)
    if isinstance(test, Directional):
        rise = scores[1] - scores[0]
        return (rise if test.towards == labels[1] else -rise) < test.by
    return labels[int(scores[0] >= threshold)] != test.label


def behaviour_table(outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """Return a row for each test: cases, failures, failure rate in percent with a 95 % Wilson interval, examples."""
    rows = [
        {**outcome.result.model_dump(), **_rate(outcome.result), "examples": "\n".join(outcome.examples)}
        for outcome in outcomes
    ]
    return pd.DataFrame(rows).set_index("name")


def behaviours_section(results: Sequence[BehaviourResult]) -> str:
    """Return the section of the model card on behavioural tests, in Markdown."""
    if not results:
        return "No behavioural tests were run."
    rows = [
        [
            result.name.replace("|", "\\|"),
            result.kind.replace("_", " "),
            str(result.cases),
            str(result.failures),
            percent(result.failures / result.cases) if result.cases else "no applicable text",
        ]
        for result in results
    ]
    return markdown_table(["behavioural test", "kind", "cases", "failures", "failure rate, %"], rows)


def _texts(splits: Splits, seed: int) -> list[str]:
    """Return equally many texts of each label from the test split, so that a rare label is tested, too."""
    per_label = int(splits.test["label"].value_counts().min())
    texts: list[str] = splits.test.groupby("label").sample(per_label, random_state=seed)["text"].tolist()
    return texts


def _cases(test: Test, lists: Mapping[str, Sequence[str]], seed: int) -> Iterator[Case]:
    """Yield the cases of a test, without texts that a change leaves unchanged."""
    rng = np.random.default_rng([seed, zlib.crc32(test.name.encode())])
    for templates in templates_of(test):
        cases = (case for case in fill_templates(templates, lists, MAX_DRAWS, rng) if len(set(case)) == len(case))
        yield from islice(cases, MAX_CASES)


def _outcome(
    test: Test, cases: Sequence[Case], scores: Mapping[str, float], labels: tuple[str, str], threshold: float
) -> Outcome:
    failed = [case for case in cases if fails(test, [scores[text] for text in case], labels, threshold)]
    examples = [" → ".join(f"{text!r} ({scores[text]:.2f})" for text in case) for case in failed[:EXAMPLES]]
    return Outcome(BehaviourResult(name=test.name, kind=test.kind, cases=len(cases), failures=len(failed)), examples)


def _rate(result: BehaviourResult) -> dict[str, float]:
    if not result.cases:
        return {"failure_rate": np.nan, "low": np.nan, "high": np.nan}
    interval = binomtest(result.failures, result.cases).proportion_ci(method="wilson")
    shares = {"failure_rate": result.failures / result.cases, "low": interval.low, "high": interval.high}
    return {name: round(100 * float(share), 1) for name, share in shares.items()}
