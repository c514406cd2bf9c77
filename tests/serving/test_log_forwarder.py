"""The log forwarder writes lines of several processes complete and once, to any kind of output."""

import os
import socket
import subprocess
import sys
import threading

import pytest

from bert_textclassification.serving import log_forwarder
from bert_textclassification.serving.log_forwarder import LogForwarder
from tests.conftest import PATIENCE_S, wait_until

WRITE_LINES = """
import sys
name, size = sys.argv[2], int(sys.argv[3])
with open(sys.argv[1], "w") as pipe:
    for number in range(100):
        pipe.write(f"{name} {number} " + name * size + "\\n")
        pipe.flush()
"""


def write(pipe, content):
    with pipe.open("wb") as file:
        file.write(content)


def read_all(descriptor):
    return b"".join(iter(lambda: os.read(descriptor, 65536), b""))


@pytest.fixture
def pipes(tmp_path):
    return [tmp_path / "a", tmp_path / "b"]


@pytest.mark.parametrize("kind", ["pipe", "socket", "file", "non-blocking pipe"])
def test_lines_of_two_processes_come_out_whole_and_in_the_order_of_each(pipes, tmp_path, kind):
    received = []
    if kind == "file":
        output = source = os.open(tmp_path / "log", os.O_RDWR | os.O_CREAT)
    elif kind == "socket":
        ends = socket.socketpair()
        source, output = (end.detach() for end in ends)
    else:
        source, output = os.pipe()
        os.set_blocking(output, kind != "non-blocking pipe")
    reader = threading.Thread(target=lambda: received.append(read_all(source)))
    if kind != "file":
        reader.start()
    with LogForwarder(pipes, output):
        writers = [
            subprocess.Popen([sys.executable, "-c", WRITE_LINES, pipe, pipe.name, str(size)])
            for pipe, size in zip(pipes, (10, 20_000), strict=True)
        ]
        assert [writer.wait() for writer in writers] == [0, 0]
    if kind == "file":
        os.lseek(output, 0, os.SEEK_SET)
        received.append(read_all(output))
    os.close(output)
    if kind != "file":
        reader.join()
        os.close(source)
    lines = received[0].decode().splitlines()
    for pipe, size in zip(pipes, (10, 20_000), strict=True):
        expected = [f"{pipe.name} {number} " + pipe.name * size for number in range(100)]
        assert [line for line in lines if line.startswith(pipe.name)] == expected
    assert len(lines) == 200


def test_a_last_line_without_its_end_is_not_lost(pipes):
    source, output = os.pipe()
    with LogForwarder(pipes, output):
        write(pipes[0], b"one\ntw")
        write(pipes[0], b"o")
    os.close(output)
    assert read_all(source) == b"one\ntwo\n"


def test_a_writer_may_come_and_go(pipes):
    source, output = os.pipe()
    with LogForwarder(pipes, output):
        for number in range(3):
            write(pipes[0], b"%d\n" % number)
    os.close(output)
    assert read_all(source) == b"0\n1\n2\n"


def test_an_output_that_is_gone_holds_nobody_up_and_is_told_once(pipes, capfd):
    source, output = os.pipe()
    os.close(source)
    with LogForwarder(pipes, output):
        for _ in range(5):
            write(pipes[0], b"x" * 100_000 + b"\n")  # more than a pipe holds: it must be read
    os.close(output)
    assert capfd.readouterr().err.count("the log cannot be written to standard output (Broken pipe)") == 1


def test_a_reader_that_does_not_read_cannot_keep_the_server_from_ending(pipes):
    source, output = os.pipe()
    os.write(output, b"x" * 65536)
    with LogForwarder(pipes, output):
        write(pipes[0], b"never read\n")
    assert len(os.read(source, 65536)) == 65536


def test_a_reader_that_stops_reading_holds_nobody_up_and_tears_no_later_line(pipes, capfd, monkeypatch):
    monkeypatch.setattr(log_forwarder, "PATIENCE_S", 0.1)
    source, output = os.pipe()
    received, errors = [], []
    reader = threading.Thread(target=lambda: received.extend(iter(lambda: os.read(source, 65536), b"")))
    with LogForwarder(pipes, output):
        write(pipes[0], b"".join(b"%d %s\n" % (number, b"x" * 3000) for number in range(2000)))  # more than pipes hold
        wait_until(
            lambda: errors.append(capfd.readouterr().err) or "nobody reads it): lines are lost" in "".join(errors)
        )
        monkeypatch.setattr(log_forwarder, "PATIENCE_S", PATIENCE_S)  # from here on the reader reads, however slowly
        reader.start()
        wait_until(lambda: received)
        write(pipes[1], b"the last one\n")
    os.close(output)
    reader.join()
    os.close(source)
    assert received[0].startswith(b"0 xxx")
    assert b"the last one" in b"".join(received).split(b"\n")
