"""Bodies of requests and replies: each accepted shape, each refusal with its field, and round trips of any text."""

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_textclassification.errors import RequestError
from bert_textclassification.serving.predictor import Prediction
from bert_textclassification.serving.protocols import (
    Parameters,
    format_csv,
    format_json,
    parse_csv,
    parse_json,
)

MOST = 100
ANY_TEXTS = st.lists(st.text(st.characters(codec="utf-8"), min_size=1), min_size=1, max_size=20)
PREDICTION = Prediction("yes", 0.75, {"no": 0.25, "yes": 0.75}, (-0.5, 0.5), 4, False)
SCORES = st.floats(0, 1, exclude_min=True, exclude_max=True)


@pytest.mark.parametrize(
    "body",
    [
        '{"instances": ["a", "b"]}',
        '{"instances": [{"text": "a"}, {"text": "b", "id": 7}]}',
        '{"instances": ["a", {"text": "b"}], "parameters": null}',
        '{"inputs": ["a", "b"], "parameters": {}}',
        '{"inputs": [{"text": "a"}, "b"], "unknown": "ignored"}',
        '{"text": ["a", "b"]}',
        '["a", "b"]',
        ' [{"text": "a"}, "b"]\n',
    ],
)
def test_every_shape_of_json_gives_its_texts(body):
    parsed = parse_json(body.encode(), MOST)
    assert parsed.texts == ["a", "b"]
    assert parsed.parameters == Parameters()


@pytest.mark.parametrize("body", ['"a"', '{"text": "a"}', '{"inputs": "a"}', '{"instances": {"text": "a"}}'])
def test_json_with_a_single_text_needs_no_list(body):
    assert parse_json(body.encode(), MOST).texts == ["a"]


def test_json_parameters_are_read():
    body = b'{"inputs": "a", "parameters": {"truncation": "error", "threshold": 0.2, "all_scores": true}}'
    asked = parse_json(body, MOST).parameters
    assert (asked.truncation, asked.threshold, asked.all_scores, asked.raw_logits) == ("error", 0.2, True, False)


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        (b"", "invalid_json", None),
        (b'{"instances": ["a"]', "invalid_json", None),
        (b"[NaN]", "invalid_json", None),
        (b'["\xff"]', "invalid_json", None),
        (rb'["\ud800"]', "invalid_json", None),
        (b"[" * 5000, "invalid_json", None),
        (b"{}", "missing_instances", "instances"),
        (b'{"texts": ["a"]}', "missing_instances", "instances"),
        (b'{"parameters": {}}', "missing_instances", "instances"),
        (b"[]", "no_instances", "instances"),
        (b'{"instances": []}', "no_instances", "instances"),
        (b'{"inputs": []}', "no_instances", "inputs"),
        (b"null", "not_a_string", "instances[0]"),
        (b'["a", 5]', "not_a_string", "instances[1]"),
        (b'["a", ["b"]]', "not_a_string", "instances[1]"),
        (b'{"instances": [{"text": "a"}, {"txt": "b"}]}', "not_a_string", "instances[1]"),
        (b'{"inputs": ["a", "b", {"text": null}]}', "not_a_string", "inputs[2]"),
        (b'{"text": 5}', "not_a_string", "text[0]"),
    ],
)
def test_json_without_usable_texts_is_refused_where_it_is_wrong(body, code, field):
    problem = _refusal(parse_json, body)
    assert (problem.code, problem.field, problem.status) == (code, field, 400)


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"truncation": "cut"}, "parameters.truncation"),
        ({"threshold": 0}, "parameters.threshold"),
        ({"threshold": 1}, "parameters.threshold"),
        ({"threshold": "0.5"}, "parameters.threshold"),
        ({"all_scores": "yes"}, "parameters.all_scores"),
        ({"raw_logits": 1}, "parameters.raw_logits"),
        ({"treshold": 0.5}, "parameters.treshold"),
        ([1], "parameters"),
        ("error", "parameters"),
    ],
)
def test_a_wrong_parameter_is_refused_by_name(parameters, field):
    problem = _refusal(parse_json, json.dumps({"inputs": "a", "parameters": parameters}).encode())
    assert (problem.code, problem.field, problem.status) == ("invalid_parameter", field, 400)


def test_an_unknown_parameter_is_told_the_known_ones():
    problem = _refusal(parse_json, b'{"inputs": "a", "parameters": {"top_k": 1}}')
    assert "truncation, threshold, all_scores, raw_logits" in problem.message


@pytest.mark.parametrize(("parse", "body"), [(parse_json, b'["a", "b", "c"]'), (parse_csv, b"a\nb\nc\n")])
def test_as_many_texts_as_allowed_pass_and_one_more_is_too_many(parse, body):
    assert len(parse(body, 3).texts) == 3
    problem = _refusal(parse, body, most=2)
    assert (problem.code, problem.field, problem.status) == ("too_many_instances", "instances", 413)
    assert "3 texts where 2 are allowed" in problem.message


@pytest.mark.parametrize(
    ("body", "texts"),
    [
        (b"a\nb\n", ["a", "b"]),
        (b"a\r\nb", ["a", "b"]),
        (b"text\na\nb\n", ["a", "b"]),
        (b"a\n\n\nb\n", ["a", "b"]),
        (b'"first line\nsecond line"\nb', ["first line\nsecond line", "b"]),
        (b'text\r\n"a\r\n\r\nb"\r\n', ["a\r\n\r\nb"]),
        (b'"a, with ""quotes"""\n', ['a, with "quotes"']),
        (b'it is 5" wide\n', ['it is 5" wide']),
        (b"\xef\xbb\xbftext\na\n", ["a"]),
        (b'\xef\xbb\xbf"a"\n', ["a"]),
        (b"a,1\nb,0\n", ["a", "b"]),
        (b"label,text\n1,a\n0,b\n", ["a", "b"]),
        (b"label,TEXT ,id\n1,a,7\n0,b,8\n", ["a", "b"]),
        ("grüße\n漢字\n".encode(), ["grüße", "漢字"]),
        (b"a\n \n", ["a", " "]),
    ],
)
def test_every_shape_of_csv_gives_its_texts(body, texts):
    assert parse_csv(body, MOST).texts == texts


def test_a_long_text_passes_as_csv_as_it_does_as_json():
    long = "many words " * 20_000
    assert parse_csv(long.encode(), MOST).texts == parse_json(json.dumps(long).encode(), MOST).texts == [long]


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        (b"", "no_instances", "instances"),
        (b"\n\r\n\n", "no_instances", "instances"),
        (b"text\n", "no_instances", "instances"),
        (b"\xff\xfea\x00", "invalid_encoding", None),
        ("grüße".encode("latin-1"), "invalid_encoding", None),
        (b'"never closed\n', "invalid_csv", None),
        (b'"a"b\n', "invalid_csv", None),
        (b"id,text\n1,a\n2\n", "missing_column", "instances[1]"),
    ],
)
def test_csv_without_usable_texts_is_refused_where_it_is_wrong(body, code, field):
    problem = _refusal(parse_csv, body)
    assert (problem.code, problem.field, problem.status) == (code, field, 400)


def test_an_encoding_that_is_not_utf8_names_the_byte():
    assert "at byte 2" in _refusal(parse_csv, "grüße".encode("latin-1")).message


@given(texts=ANY_TEXTS, wrap=st.sampled_from(["list", "instances", "inputs", "objects"]))
def test_any_texts_written_as_json_are_parsed_back(texts, wrap):
    items = [{"text": text} for text in texts] if wrap == "objects" else texts
    content = items if wrap == "list" else {"inputs" if wrap == "inputs" else "instances": items}
    for ascii_only in (True, False):
        assert parse_json(json.dumps(content, ensure_ascii=ascii_only).encode(), MOST).texts == texts


@given(
    texts=ANY_TEXTS,
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    others=st.lists(st.sampled_from(["id", "label", "note, free"]), max_size=2),
    bom=st.booleans(),
)
def test_any_texts_written_as_csv_are_parsed_back(texts, quoting, others, bom):
    written = io.StringIO(newline="")
    writer = csv.writer(written, quoting=quoting)
    writer.writerow([*others, "text"])
    writer.writerows([*others, text] for text in texts)
    encoded = written.getvalue().encode("utf-8-sig" if bom else "utf-8")
    assert parse_csv(encoded, MOST).texts == texts


@given(texts=ANY_TEXTS.filter(lambda texts: texts[0].strip().lower() != "text"))
def test_any_texts_written_as_csv_without_a_header_are_parsed_back(texts):
    written = io.StringIO(newline="")
    csv.writer(written, quoting=csv.QUOTE_ALL).writerows([text] for text in texts)
    assert parse_csv(written.getvalue().encode(), MOST).texts == texts


@given(
    answers=st.lists(st.tuples(st.sampled_from(["escalate", "not, at all", 'so-called "fine"']), SCORES), max_size=20)
)
def test_any_predictions_as_csv_have_one_line_per_text_in_order(answers):
    predictions = [Prediction(label, score, {}, (0.0, 0.0), 3, False) for label, score in answers]
    reply = format_csv(predictions).decode()
    assert reply.count("\n") == len(reply.splitlines()) == len(predictions)
    assert [(label, float(score)) for label, score in csv.reader(io.StringIO(reply))] == answers


@given(score=SCORES)
def test_a_score_keeps_every_digit_as_json(score):
    prediction = Prediction("yes", score, {}, (0.0, 0.0), 3, False)
    reply = json.loads(format_json([prediction], Parameters(), {}))
    assert reply["predictions"][0]["score"] == score


def test_a_json_reply_has_only_what_was_asked_for():
    model = {"version": "abc", "variant": "int8"}
    reply = json.loads(format_json([PREDICTION, PREDICTION], Parameters(), model))
    expected = {"label": "yes", "score": 0.75, "tokens": 4, "truncated": False}
    assert reply == {"predictions": [expected, expected], "model": model}


def test_a_json_reply_adds_scores_and_logits_on_request():
    (scores,) = json.loads(format_json([PREDICTION], Parameters(all_scores=True), {}))["predictions"]
    (logits,) = json.loads(format_json([PREDICTION], Parameters(raw_logits=True), {}))["predictions"]
    assert scores["scores"] == {"no": 0.25, "yes": 0.75}
    assert "logits" not in scores
    assert logits["logits"] == [-0.5, 0.5]
    assert "scores" not in logits


def _refusal(parse, body, most=MOST):
    with pytest.raises(RequestError) as problem:
        parse(body, most)
    assert problem.value.message.endswith(".")
    return problem.value


@pytest.mark.parametrize("parameters", ["false", "0", '""', "[1]"])
def test_parameters_must_be_an_object(parameters):
    with pytest.raises(RequestError) as refused:
        parse_json(b'{"instances": ["a"], "parameters": ' + parameters.encode() + b"}", 10)
    assert refused.value.code == "invalid_parameter"
