"""The log has one JSON object per line, whatever is logged."""

import datetime
import io
import json
import logging
import math
import subprocess
import sys

import pytest

from bert_textclassification.serving.logs import JsonFormatter

PROGRAM = """
import logging, logging.config
from bert_textclassification.serving import logs

logging.config.dictConfig(logs.configuration())
logging.getLogger("bert_textclassification.serving.api").info("one")
logging.getLogger("anything").debug("too fine")
logging.getLogger("gunicorn.error").info("not news")
logging.getLogger("gunicorn.error").warning("news")
"""


@pytest.fixture
def log():
    """A logger whose lines are read with `lines(log)`."""
    logger, handler = logging.Logger("some.module"), logging.StreamHandler(io.StringIO())
    handler.setFormatter(JsonFormatter())
    logger.addHandler(handler)
    return logger


def lines(logger):
    return [json.loads(line) for line in logger.handlers[0].stream.getvalue().split("\n")[:-1]]


def test_a_record_says_when_how_bad_where_and_what(log):
    before = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    log.warning("%d of %s", 3, "them")
    (line,) = lines(log)
    assert before <= datetime.datetime.fromisoformat(line.pop("time")) <= datetime.datetime.now(datetime.UTC)
    assert line == {"level": "warning", "logger": "some.module", "message": "3 of them"}


def test_fields_are_merged_into_the_line(log):
    log.info("prediction", extra={"fields": {"request_id": "a-1", "score": 0.5, "nested": {"list": [1, None]}}})
    (line,) = lines(log)
    assert line["message"] == "prediction"
    assert (line["request_id"], line["score"], line["nested"]) == ("a-1", 0.5, {"list": [1, None]})


def test_a_message_of_many_lines_stays_on_one(log):
    log.info('first\nsecond\r\nthird\u2028\x00\x1b[31m"quoted" {brace} Grüße 🙂')
    log.info("next")
    assert [line["message"] for line in lines(log)] == [
        'first\nsecond\r\nthird\u2028\x00\x1b[31m"quoted" {brace} Grüße 🙂',
        "next",
    ]


def test_an_exception_is_in_the_line_with_its_trace(log):
    try:
        math.sqrt(-1)
    except ValueError:
        log.exception("it failed")
    (line,) = lines(log)
    assert (line["level"], line["message"]) == ("error", "it failed")
    assert line["exception"].startswith("Traceback (most recent call last):\n")
    assert "math.sqrt(-1)" in line["exception"]


def test_a_line_without_an_exception_has_no_place_for_one(log):
    log.error("it failed")
    assert "exception" not in lines(log)[0]


@pytest.mark.parametrize(
    "value", [{1, 2}, b"bytes", ValueError("why"), 2**70, {1: "key"}, "half a pair: \ud83d"], ids=repr
)
def test_a_value_that_json_does_not_know_does_not_lose_the_line(log, value):
    log.info("kept", extra={"fields": {"value": value}})
    assert [line["message"] for line in lines(log)] == ["kept"]


def test_a_message_with_bytes_of_a_file_name_does_not_lose_the_line(log):
    log.info("cannot read %s", b"caf\xe9.txt".decode("utf-8", "surrogateescape"))
    assert lines(log)[0]["message"].startswith("cannot read caf")


def test_the_server_logs_its_own_news_to_stdout_and_gunicorns_warnings_only():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(line["logger"].split(".")[0], line["message"]) for line in records] == [
        ("bert_textclassification", "one"),
        ("gunicorn", "news"),
    ]
    assert done.stderr == ""
