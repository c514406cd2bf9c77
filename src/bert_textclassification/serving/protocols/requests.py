"""Requests as every protocol parses them: texts or the reasons why there are none, and what is asked for."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bert_textclassification.errors import RequestError
from bert_textclassification.serving.predictor import Prediction
from bert_textclassification.serving.protocols.csv_texts import Record
from bert_textclassification.serving.protocols.schemas import Parameters
from bert_textclassification.serving.text_checks import check_text

Outcome = Prediction | RequestError
_TEXT_FIELD = re.compile(r"instances\[(\d+)\]")  # where `Predictor.predict` says that a text is at fault


@dataclass(frozen=True)
class Limits:
    """What a request may hold.

    Attributes:
        texts: most texts.
        chars: most characters of one text.
    """

    texts: int = 10_000
    chars: int = 100_000


@dataclass(frozen=True)
class Request:
    """A parsed request: a text or the reason why there is none for each record, in order, and what is asked for."""

    records: list[Record]
    parameters: Parameters = field(default_factory=Parameters)
    name: str = "instances"

    @property
    def texts(self) -> list[str]:
        """The texts of the records that have one."""
        return [record for record in self.records if isinstance(record, str)]

    def strict(self) -> "Request":
        """Return the request itself.

        Raises:
            RequestError: a record has no usable text.
        """
        for record in self.records:
            if isinstance(record, RequestError):
                raise record
        return self

    def placing_refusals(self, predict: Callable[[], list[Prediction]]) -> list[Prediction]:
        """Return what `predict` returns for `texts`; a text that it refuses is named as the request named it."""
        try:
            return predict()
        except RequestError as problem:
            if found := _TEXT_FIELD.fullmatch(problem.field or ""):
                places = [place for place, record in enumerate(self.records) if isinstance(record, str)]
                problem.field = f"{self.name}[{places[int(found.group(1))]}]"
            raise

    def outcomes(self, predict: Callable[[Sequence[str]], list[Prediction]]) -> list[Outcome]:
        """Return one outcome a record, where a text that `predict` refuses costs its own record alone.

        Raises:
            RequestError: `predict` refuses all of the request, such as for want of time.
        """
        try:
            answers = iter(predict(self.texts))
        except RequestError as problem:
            if not _TEXT_FIELD.fullmatch(problem.field or ""):
                raise
            return [_outcome(predict, record, f"{self.name}[{index}]") for index, record in enumerate(self.records)]
        return [record if isinstance(record, RequestError) else next(answers) for record in self.records]


def _outcome(predict: Callable[[Sequence[str]], list[Prediction]], record: Record, where: str) -> Outcome:
    if isinstance(record, RequestError):
        return record
    try:
        return predict([record])[0]
    except RequestError as problem:
        if not _TEXT_FIELD.fullmatch(problem.field or ""):
            raise
        return RequestError(problem.code, problem.message, where, problem.status)


def count_records(records: int, name: str, limits: Limits) -> None:
    """Check the number of records in the list called `name`.

    Raises:
        RequestError: there are none, or too many (413).
    """
    if not records:
        raise RequestError("no_instances", "The request holds no texts; send at least one.", name)
    if records > limits.texts:
        raise RequestError(
            "too_many_instances",
            f"The request holds more than the {limits.texts} texts that are allowed; send several requests.",
            name,
            status=413,
        )


def usable_records(records: list[Record], name: str, limits: Limits) -> list[Record]:
    """Return the records with an error in place of each text that cannot be classified."""
    return [_usable_record(record, f"{name}[{index}]", limits.chars) for index, record in enumerate(records)]


def _usable_record(record: Record, where: str, max_chars: int) -> Record:
    if isinstance(record, RequestError):
        return record
    try:
        check_text(record, where, max_chars)
    except RequestError as problem:
        return problem.with_traceback(None)
    return record
