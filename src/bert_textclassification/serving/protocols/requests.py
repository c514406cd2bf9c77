"""Parsed requests, common to all protocols: a text or an error for each record, and the parameters."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bert_textclassification.errors import RequestError
from bert_textclassification.serving.predictor import Prediction
from bert_textclassification.serving.protocols.csv_texts import Record
from bert_textclassification.serving.protocols.schemas import Parameters
from bert_textclassification.serving.text_checks import check_text

Outcome = Prediction | RequestError
_TEXT_FIELD = re.compile(r"instances\[(\d+)\]")  # the error's field when `Predictor.predict` rejects a text


@dataclass(frozen=True)
class Limits:
    """Limits of a request.

    Attributes:
        texts: maximum number of texts.
        chars: maximum characters of one text.
    """

    texts: int = 10_000
    chars: int = 100_000


@dataclass(frozen=True)
class Request:
    """A parsed request.

    Attributes:
        records: a text or an error for each record, in order.
        parameters: the request's parameters.
        name: the field that holds the records, for errors.
    """

    records: list[Record]
    parameters: Parameters = field(default_factory=Parameters)
    name: str = "instances"

    @property
    def texts(self) -> list[str]:
        """The texts of the valid records."""
        return [record for record in self.records if isinstance(record, str)]

    def strict(self) -> "Request":
        """Return the request itself if all its records are valid.

        Raises:
            RequestError: the first invalid record's error.
        """
        for record in self.records:
            if isinstance(record, RequestError):
                raise record
        return self

    def predict_all(self, predict: Callable[[Sequence[str]], list[Prediction]]) -> list[Prediction]:
        """Return the predictions of `texts`.

        Raises:
            RequestError: `predict` rejects a text; its field is the record's place in this request.
        """
        try:
            return predict(self.texts)
        except RequestError as problem:
            if match := _TEXT_FIELD.fullmatch(problem.field or ""):
                text_indices = [index for index, record in enumerate(self.records) if isinstance(record, str)]
                problem.field = f"{self.name}[{text_indices[int(match.group(1))]}]"
            raise

    def predict_each(self, predict: Callable[[Sequence[str]], list[Prediction]]) -> list[Outcome]:
        """Return one outcome per record; a text that `predict` rejects fails only its own record.

        Raises:
            RequestError: `predict` rejects the whole request, such as after the deadline.
        """
        try:
            predictions = iter(predict(self.texts))
        except RequestError as problem:
            if not _TEXT_FIELD.fullmatch(problem.field or ""):
                raise
            return [_outcome(predict, record, f"{self.name}[{index}]") for index, record in enumerate(self.records)]
        return [record if isinstance(record, RequestError) else next(predictions) for record in self.records]


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
        raise RequestError("no_instances", "The request has no texts; send at least one.", name)
    if records > limits.texts:
        raise RequestError(
            "too_many_instances",
            f"The request has more than {limits.texts} texts, the limit; send several requests.",
            name,
            status=413,
        )


def usable_records(records: list[Record], name: str, limits: Limits) -> list[Record]:
    """Return the records, with each invalid text replaced by its error."""
    return [_usable_record(record, f"{name}[{index}]", limits.chars) for index, record in enumerate(records)]


def _usable_record(record: Record, where: str, max_chars: int) -> Record:
    if isinstance(record, RequestError):
        return record
    try:
        check_text(record, where, max_chars)
    except RequestError as problem:
        return problem.with_traceback(None)
    return record
