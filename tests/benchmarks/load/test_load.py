"""The load test: its counts equal those of the server, and a latency includes the whole wait of the caller."""

import contextlib
import io
import itertools
import json
import shutil
import socket
import threading
import time

import pandas as pd
import pytest

from bert_textclassification import cli
from bert_textclassification.benchmarks.load import generator as load_generator
from bert_textclassification.benchmarks.load import report as load_report
from bert_textclassification.benchmarks.load import run as load_test
from bert_textclassification.errors import DataError, UserError
from bert_textclassification.serving.predictor import Predictor
from tests.conftest import ROOT, SHIPPED_DATA

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
CLOSING = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"


@pytest.fixture(scope="module")
def short_run(tiny_artifact, tmp_path_factory):
    """The printed output and the written results of a short load test of the tiny model."""
    if shutil.which("nginx") is None:
        pytest.skip("nginx is not installed: run `make system-packages`")
    output = tmp_path_factory.mktemp("load") / "load.json"
    paths = ["--model", str(tiny_artifact.folder), "--data", str(SHIPPED_DATA), "--output", str(output)]
    arguments = [*paths, *["--seconds", "0.3", "--rounds", "1", "--connections", "1", "--connections", "4"]]
    with pytest.MonkeyPatch.context() as patched, contextlib.redirect_stdout(io.StringIO()) as printed:
        patched.chdir(ROOT)
        assert cli.main(["benchmark", "load", *arguments]) == 0
    return printed.getvalue(), json.loads(output.read_text())


@pytest.fixture
def scripted_server():
    """A function that starts a server with these replies, one connection at a time, and returns its port."""
    with contextlib.ExitStack() as opened:

        def start(replies, pause_s):
            listener = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
            threading.Thread(target=_answer, args=(listener, replies, pause_s), daemon=True).start()
            return listener.getsockname()[1]

        yield start


def _answer(listener, replies, pause_s):
    """Send each reply in two pieces, with a pause before each; close after replies other than OK and BUSY."""
    with contextlib.suppress(OSError):  # the test is over
        while True:
            connection, _ = listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with connection:
                reply = OK
                while reply in (OK, BUSY) and connection.recv(65536):
                    reply = next(replies)
                    for piece in (reply[:20], reply[20:]):
                        time.sleep(pause_s)
                        connection.sendall(piece)


def over_http(points):
    return [point for point in points if point["case"] != load_report.IN_PROCESS]


@pytest.mark.slow
def test_the_server_counted_every_request_that_the_generator_counted(short_run):
    points = over_http(short_run[1]["points"])
    assert len(points) == 6
    assert [point["server_requests"] for point in points] == [point["requests"] for point in points]
    assert [point["errors"] for point in points] == [{}] * 6


@pytest.mark.slow
def test_no_load_used_more_processor_time_than_available(short_run):
    cores = load_test.Settings(None, None).threads
    for point in over_http(short_run[1]["points"]):
        used_ms = point["server_cpu_ms_per_request"] + point["generator_cpu_ms_per_request"]
        seconds = point["requests"] / point["requests_per_second"]
        assert point["gunicorn_cpu_ms_per_request"] > 0
        assert used_ms * point["requests"] / 1000 < cores * (seconds + 0.3)


@pytest.mark.slow
def test_the_cache_answers_repeated_texts_and_nothing_when_it_is_off(short_run):
    hits = {point["case"]: point["hit_share"] for point in over_http(short_run[1]["points"])}
    assert (hits[load_report.CLOSED], hits[load_report.NO_CACHE], hits[load_report.HITS]) == (0, 0, 1)
    assert 0 < hits[load_report.CACHE] < 0.6


@pytest.mark.slow
def test_the_open_loop_sends_half_of_the_in_process_rate(short_run):
    rates = {point["case"]: point for point in short_run[1]["points"]}
    half_rate = rates[load_report.HALF_RATE]
    assert half_rate["rate"] == rates[load_report.IN_PROCESS]["requests_per_second"] / 2
    assert half_rate["requests"] == round(0.3 * half_rate["rate"])


@pytest.mark.slow
def test_the_last_line_is_the_summary_and_every_target_is_printed_with_its_verdict(short_run):
    printed, written = short_run
    summary = json.loads(printed.splitlines()[-1])
    assert summary == written["summary"]
    assert [row["connections"] for row in summary["by_connections"]] == [1, 4]
    assert summary["p50_ms"] <= summary["p95_ms"] <= summary["p99_ms"]
    assert {"machine", "other_programs_cores", "in_process_texts_per_second", "cache_hit_cpu_ms_per_request"} <= set(
        summary
    )
    for target in load_report.TARGETS:
        assert target.line(summary[target.figure]) in printed


def test_a_target_that_is_just_missed_is_missed():
    share, ratio, _ = load_report.TARGETS
    assert share.line(0.849).startswith("MISSED")
    assert (share.reached(0.85), ratio.reached(5), ratio.reached(5.01)) == (True, True, False)


def test_the_rounds_of_a_load_have_median_and_spread():
    columns = dict.fromkeys(load_report.CLOSED_COLUMNS, 1.0) | {"case": load_report.CLOSED, "connections": 8.0}
    rounds = pd.DataFrame([columns | {"requests_per_second": rate, "failed": 1} for rate in (500.0, 100.0, 300.0)])
    (row,) = load_report.by_connections(rounds)
    assert (row["requests_per_second"], row["requests_per_second_low"], row["failed"]) == (300, 100, 3)


def test_the_latency_of_a_scheduled_request_starts_when_it_was_due(scripted_server):
    port = scripted_server(itertools.repeat(OK), pause_s=0.025)
    outcome = load_generator.open_loop(["hello"], seconds=0.4, port=port, rate=50, connections=1)
    assert len(outcome.latencies_ms) == 20
    assert outcome.latencies_ms[0] < 250 < 600 < outcome.latencies_ms[-1]  # 20 x 50 ms, the last due after 380 ms


def test_rejections_and_broken_connections_are_counted_and_the_load_continues(scripted_server):
    port = scripted_server(itertools.chain([BUSY, b"", OK, CLOSING, BUSY[:30]], itertools.repeat(OK)), pause_s=0.005)
    outcome = load_generator.closed_loop(["hello"], seconds=0.4, port=port, connections=1)
    assert outcome.errors == {"503": 1, "closed": 2}
    assert len(outcome.latencies_ms) > 3


def test_texts_that_are_new_to_a_cache_have_the_same_tokens(tiny_artifact):
    new = list(itertools.islice(load_generator.new_to_a_cache(["hello there", "bye"]), 6))
    assert len(set(new)) == 6
    assert len({str(text.ids) for text in Predictor(tiny_artifact).tokenise(new)}) == 2


def test_the_share_of_repeats_is_the_documented_one():
    stream = load_generator.with_repeats(load_generator.new_to_a_cache(["a", "b", "c"]), 5000)
    assert 1 - len(set(stream)) / len(stream) == pytest.approx(load_generator.REPEATS, abs=0.02)


def test_any_csv_file_with_a_column_text_is_accepted(tmp_path):
    (tmp_path / "texts.csv").write_text('id,text\n1,one\n2,\n3,one\n4,"two\nlines "\n')
    assert load_test.read_texts(tmp_path / "texts.csv") == ["one", "two\nlines"]
    (tmp_path / "other.csv").write_text("id,words\n1,one\n")
    with pytest.raises(DataError, match=r"other\.csv .* column text"):
        load_test.read_texts(tmp_path / "other.csv")
    with pytest.raises(DataError, match=r"missing\.csv"):
        load_test.read_texts(tmp_path / "missing.csv")


def test_a_load_without_any_response_ends_with_a_sentence():
    with pytest.raises(UserError, match=r"All requests failed: \{'503': 2\}"):
        load_test.figures({"latencies_ms": [], "errors": {"503": 2}})
    with pytest.raises(UserError, match=r"closed_loop failed .*refused"):
        load_test.run_load("closed_loop", ["hello"], 0.1, port=1, connections=1)


def test_a_missing_model_is_named(capsys):
    assert cli.main(["benchmark", "load", "--model", "no/such/model", "--data", str(SHIPPED_DATA)]) == 1
    assert "error: " in capsys.readouterr().err
