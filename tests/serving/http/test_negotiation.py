"""Content negotiation: media types, character sets, the preferred response type, and gzip with a size limit."""

import gzip
import tracemalloc
import zlib
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

from bert_textclassification.errors import RequestError
from bert_textclassification.serving.http.negotiation import best_offer, content_type, decompressed
from bert_textclassification.serving.protocols.media_types import CSV, JSON, JSON_LINES, TEXT, decoded

NO_DEADLINE = settings(deadline=None)  # a busy machine may pause for longer than any example takes
MAX_BYTES = 64 * 1024


# -- media types


@pytest.mark.parametrize(
    ("header", "name"),
    [
        (None, JSON),
        ("", JSON),
        ("application/json", JSON),
        ("application/json; charset=utf-8", JSON),
        ("application/json;charset=UTF-8", JSON),
        ('application/json ; charset="utf-8"; profile=x', JSON),
        ("application/json;", JSON),
        ("Application/JSON", JSON),
        ("application/jsonlines", JSON_LINES),
        ("application/x-ndjson", JSON_LINES),
        ("Application/X-NDJSON; charset=utf-8", JSON_LINES),
        ("application/jsonl", JSON_LINES),
        ("application/x-jsonlines", JSON_LINES),
        ("text/csv; header=present", CSV),
        ("TEXT/CSV", CSV),
        ("text/plain; format=flowed; charset=us-ascii", TEXT),
    ],
)
def test_a_media_type_is_known_whatever_its_case_and_parameters(header, name):
    assert content_type(header).name == name


@pytest.mark.parametrize(
    "header",
    ["text/csv; header=absent", 'text/csv; Header="absent"', "TEXT/CSV;HEADER=absent;charset=utf-8"],
)
def test_the_parameters_of_a_media_type_are_kept(header):
    assert content_type(header).parameters["header"] == "absent"


@pytest.mark.parametrize(
    "header",
    [
        "application/xml",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/octet-stream",
        "text/html",
        "text/*",
        "*/*",
        "json",
        "application/json, text/csv",
        "; charset=utf-8",
        "application/jsonx",
    ],
)
def test_another_media_type_is_refused_by_name(header):
    problem = _error(content_type, header)
    assert (problem.code, problem.field, problem.status) == ("unsupported_media_type", "Content-Type", 415)
    assert header.partition(";")[0] in problem.message
    assert "application/json, application/jsonlines, text/csv, text/plain" in problem.message


@pytest.mark.parametrize("header", ["x" * 10_000, "text/csv; charset=" + "x" * 10_000], ids=["type", "charset"])
def test_a_long_header_is_not_repeated_in_full(header):
    assert len(_error(content_type, header).message) < 300
    assert len(_error(decompressed, b"", header, MAX_BYTES).message) < 300


# -- character sets


@pytest.mark.parametrize(
    ("charset", "text"),
    [
        ("utf-8", "grüße, 漢字 🙂"),
        ("UTF8", "grüße, 漢字 🙂"),
        ("us-ascii", "plain"),
        ("utf-16", "grüße, 漢字 🙂"),
        ("utf-16le", "grüße, 漢字 🙂"),
        ("UTF-16BE", "grüße, 漢字 🙂"),
        ("latin1", "grüße"),
        ("ISO-8859-1", "grüße"),
        ("iso-8859-2", "žluťoučký kůň"),
        ("iso-8859-7", "γειά σου"),
        ("iso-8859-15", "10 €"),
        ("windows-1252", "10 € “quoted”"),
        ("windows-1251", "привет"),
        ("windows-1256", "مرحبا"),
        ("koi8-r", "привет"),
        ("shift_jis", "漢字かな"),
        ("euc-jp", "漢字かな"),
        ("euc-kr", "안녕하세요"),
        ("gb18030", "汉字 🙂"),
        ("gbk", "汉字"),
        ("big5", "漢字"),
    ],
)
@pytest.mark.parametrize("name", [CSV, TEXT, JSON_LINES])
def test_a_body_is_read_in_its_character_set(name, charset, text):
    assert decoded(text.encode(charset), content_type(f"{name}; charset={charset}").charset) == text


@pytest.mark.parametrize("charset", ["utf-8", "utf-16", "ascii"])
def test_a_byte_order_mark_is_no_part_of_the_text(charset):
    body = "\ufeffa".encode("utf-16-be" if charset == "utf-16" else "utf-8")
    assert decoded(body, content_type(f"text/plain; charset={charset}").charset) == "a"


@pytest.mark.parametrize(
    ("charset", "body", "place"),
    [
        ("utf-8", b"ab\xff", "UTF-8 at byte 2"),
        ("utf-8", b"ab\xc3", "UTF-8 at byte 2"),
        ("utf-8", b"\xed\xa0\x80", "UTF-8 at byte 0"),
        ("utf-8", b"\xc0\xaf", "UTF-8 at byte 0"),
        ("utf-16le", b"a\0\x00\xd8", "UTF-16LE at byte 2"),
        ("utf-16le", b"a\0b", "UTF-16LE at byte 2"),
        ("windows-1252", b"a\x81", "WINDOWS-1252 at byte 1"),
        ("shift_jis", b"\x81", "SHIFT_JIS at byte 0"),
    ],
)
def test_bytes_that_are_none_of_the_character_set_are_refused_at_their_place(charset, body, place):
    problem = _error(decoded, body, content_type(f"text/plain; charset={charset}").charset)
    assert (problem.code, problem.field, problem.status) == ("invalid_encoding", None, 400)
    assert f"not {place}" in problem.message


@pytest.mark.parametrize(
    "charset", ["utf-7", "utf-32", "rot13", "base64", "zlib", "idna", "unicode_escape", "mbcs", "x"]
)
def test_a_character_set_that_is_slow_or_none_is_refused(charset):
    problem = _error(content_type, f"text/plain; charset={charset}")
    assert (problem.code, problem.field, problem.status) == ("unsupported_media_type", "Content-Type", 415)
    assert charset in problem.message


@pytest.mark.parametrize("charset", ["latin1", "utf-16"])
def test_json_is_always_utf8(charset):
    assert _error(content_type, f"application/json; charset={charset}").status == 415


# -- the response type


@pytest.mark.parametrize(
    ("accept", "sent", "given"),
    [
        (None, CSV, CSV),
        ("", JSON, JSON),
        ("*/*", JSON, JSON),
        ("*/*", TEXT, TEXT),
        ("application/json", CSV, JSON),
        ("text/csv", JSON, CSV),
        ("TEXT/CSV", JSON, CSV),
        ("text/plain", JSON, TEXT),
        ("application/jsonlines", JSON, JSON_LINES),
        ("application/x-ndjson", JSON, JSON_LINES),
        ("application/jsonl, text/html", CSV, JSON_LINES),
        ("text/*", JSON, CSV),
        ("text/*", TEXT, TEXT),
        ("application/*", CSV, JSON),
        ("text/csv;q=0.2, application/json;q=0.9", CSV, JSON),
        ("text/csv;q=0.9, application/json;q=0.2", JSON, CSV),
        ("text/csv; q=0.5, application/json; q=0.5", CSV, CSV),
        ("text/csv; q=0.5, application/json; q=0.5", JSON, JSON),
        ("text/html, */*;q=0.1", JSON, JSON),
        ("text/html, application/xhtml+xml, */*;q=0.8", CSV, CSV),
        ("text/csv, */*;q=0.1", JSON, CSV),
        ("application/json;q=0, */*", JSON, JSON_LINES),
        ("text/csv;q=0, text/*", CSV, TEXT),
        ("text/csv;q=0.2, text/*;q=0.8", CSV, TEXT),
        ("application/json; charset=utf-8", CSV, JSON),
        ("application/json;charset=utf-8;q=0.9, text/csv;q=0.1", CSV, JSON),
        ("text/csv; header=absent", JSON, CSV),
    ],
)
def test_the_reply_is_what_the_client_likes_best_else_what_it_sent(accept, sent, given):
    assert best_offer(_accept(accept), sent) == given


@pytest.mark.parametrize("accept", ["text/html", "image/*", "*/*;q=0", "application/json;q=0", "json", "text/html;q=1"])
def test_a_client_that_accepts_nothing_that_can_be_given_is_refused(accept):
    problem = _error(best_offer, _accept(accept), JSON)
    assert (problem.code, problem.field, problem.status) == ("not_acceptable", "Accept", 406)
    assert "application/json, application/jsonlines, text/csv, text/plain" in problem.message


# -- gzip


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "GZIP", " gzip "])
def test_a_gzipped_body_is_expanded(encoding):
    assert decompressed(gzip.compress(b"hello"), encoding, MAX_BYTES) == b"hello"


@pytest.mark.parametrize("encoding", [None, "", "identity", "Identity"])
def test_a_body_without_an_encoding_stays_as_it_is(encoding):
    body = gzip.compress(b"hello")
    assert decompressed(body, encoding, MAX_BYTES) == body


@pytest.mark.parametrize("encoding", ["deflate", "br", "zstd", "gzip, gzip", "gzip, identity"])
def test_another_encoding_is_refused_by_name(encoding):
    problem = _error(decompressed, b"", encoding, MAX_BYTES)
    assert (problem.code, problem.field, problem.status) == ("unsupported_encoding", "Content-Encoding", 415)
    assert encoding in problem.message


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda body: body[:-1], "truncated"),
        (lambda body: body[:-8], "truncated"),
        (lambda body: body[:5], "truncated"),
        (lambda body: b"", "truncated"),
        (lambda body: body + b"more", "data follows its end"),
        (lambda body: body + body, "data follows its end"),
        (lambda body: b"hello", "incorrect header check"),
        (lambda body: zlib.compress(b"hello"), "incorrect header check"),
        (lambda body: body[:-8] + bytes(8), "incorrect data check"),
    ],
)
def test_damaged_gzip_is_refused(damage, reason):
    problem = _error(decompressed, damage(gzip.compress(b"hello" * 100)), "gzip", MAX_BYTES)
    assert (problem.code, problem.field, problem.status) == ("invalid_gzip", "Content-Encoding", 400)
    assert reason in problem.message


def test_a_body_may_expand_to_just_the_limit():
    assert decompressed(gzip.compress(bytes(MAX_BYTES)), "gzip", MAX_BYTES) == bytes(MAX_BYTES)
    problem = _error(decompressed, gzip.compress(bytes(MAX_BYTES + 1)), "gzip", MAX_BYTES)
    assert (problem.code, problem.field, problem.status) == ("body_too_large", None, 413)
    assert f"over {MAX_BYTES} bytes" in problem.message


def test_a_gzip_bomb_is_refused_in_no_more_memory_than_the_limit_allows():
    bomb = gzip.compress(bytes(1024 * MAX_BYTES))
    tracemalloc.start()
    try:
        assert _error(decompressed, bomb, "gzip", MAX_BYTES).status == 413
        assert tracemalloc.get_traced_memory()[1] < 4 * MAX_BYTES
    finally:
        tracemalloc.stop()


@NO_DEADLINE
@given(content=st.binary(max_size=2_000), level=st.integers(0, 9))
def test_any_gzipped_bytes_are_expanded(content, level):
    assert decompressed(gzip.compress(content, level), "gzip", MAX_BYTES) == content


@NO_DEADLINE
@given(content=st.binary(max_size=200), data=st.data())
def test_gzip_cut_anywhere_is_refused(content, data):
    body = gzip.compress(content)
    cut = data.draw(st.integers(0, len(body) - 1))
    assert _error(decompressed, body[:cut], "gzip", MAX_BYTES).code == "invalid_gzip"


@NO_DEADLINE
@given(body=st.binary(max_size=200), start=st.sampled_from([b"", gzip.compress(b"")[:10], b"\x1f\x8b\x08\xff"]))
def test_any_bytes_are_expanded_or_refused(body, start):
    with suppress(RequestError):
        assert isinstance(decompressed(start + body, "gzip", MAX_BYTES), bytes)


def _accept(header):
    """Return the header as Flask parses it."""
    return parse_accept_header(header, MIMEAccept)


def _error(function, *arguments):
    with pytest.raises(RequestError) as problem:
        function(*arguments)
    assert problem.value.message.endswith(".")
    return problem.value
