"""Bodies of requests and responses: each accepted form, each error with its field, and round trips of any text."""

import csv
import io
import json
import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_textclassification.errors import RequestError
from bert_textclassification.serving.http.negotiation import content_type
from bert_textclassification.serving.predictor import Prediction
from bert_textclassification.serving.protocols.formats import Parameters, format_response, parse
from bert_textclassification.serving.protocols.media_types import CSV, JSON, JSON_LINES, TEXT
from bert_textclassification.serving.protocols.native_json import format_predictions
from bert_textclassification.serving.protocols.open_inference import (
    OUTPUTS,
    InferenceRequest,
    format_infer,
    parse_infer,
)
from bert_textclassification.serving.protocols.parameters import line_parameters
from bert_textclassification.serving.protocols.requests import Limits, Request

NO_DEADLINE = settings(deadline=None)  # a busy machine may pause for longer than any example takes
LIMITS = Limits(texts=100, chars=300_000)
TENSOR = {"name": "text", "shape": [2], "datatype": "BYTES", "data": ["a", "b"]}
PREDICTION = Prediction("yes", 0.75, "review", {"no": 0.25, "yes": 0.75}, (-0.5, 0.5), 4, False)
LONG = "x" * 100_000
INVALID = RequestError("empty_text", "The text is empty.", "instances[1]")
CHARACTERS = st.characters(codec="utf-8")
TEXTS = st.lists(st.text(CHARACTERS), min_size=1, max_size=20)
LINES = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n")), min_size=1, max_size=20)
SCORES = st.floats(0, 1, exclude_min=True, exclude_max=True)
LABELS = st.text(CHARACTERS, min_size=1).filter(str.strip)


# -- JSON


@pytest.mark.parametrize(
    "body",
    [
        '{"instances": ["a", "b"]}',
        '{"instances": [{"text": "a"}, {"text": "b"}]}',
        '{"instances": ["a", {"text": "b"}], "parameters": null}',
        '{"inputs": ["a", "b"], "parameters": {}}',
        '{"inputs": [{"text": "a"}, "b"]}',
        '{"text": ["a", "b"]}',
        '["a", "b"]',
        ' [{"text": "a"}, "b"]\n',
        '\ufeff["a", "b"]',
    ],
)
def test_every_shape_of_json_gives_its_texts(body):
    parsed = _parse(body)
    assert parsed.strict().texts == ["a", "b"]
    assert parsed.parameters.model_dump(exclude_defaults=True) == {}


@pytest.mark.parametrize("body", ['"a"', '{"text": "a"}', '{"inputs": "a"}', '{"instances": {"text": "a"}}'])
def test_json_with_a_single_text_needs_no_list(body):
    assert _parse(body).strict().texts == ["a"]


def test_json_parameters_are_read():
    body = '{"inputs": "a", "parameters": {"truncation": "windows", "threshold": 0.2, "all_scores": true}}'
    parameters = _parse(body).parameters
    assert (parameters.truncation, parameters.threshold, parameters.all_scores, parameters.raw_logits) == (
        "windows",
        0.2,
        True,
        False,
    )


def test_json_parameters_win_over_those_beside_the_body():
    parameters = _parse(
        '{"text": "a", "parameters": {"threshold": 0.2}}', query="threshold=0.9&raw_logits=true"
    ).parameters
    assert (parameters.threshold, parameters.raw_logits, parameters.all_scores) == (0.2, True, False)


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        (b"", "invalid_json", None),
        (b'{"instances": ["a"]', "invalid_json", None),
        (b'["a"] ["b"]', "invalid_json", None),
        (b"['a']", "invalid_json", None),
        (b'["a\nb"]', "invalid_json", None),
        (b'["a",]', "invalid_json", None),
        (b'["\xff"]', "invalid_encoding", None),
        (b"{}", "missing_instances", "instances"),
        (b'{"texts": ["a"]}', "missing_instances", "instances"),
        (b'{"parameters": {}}', "missing_instances", "instances"),
        (b"[]", "no_instances", "instances"),
        (b'{"instances": []}', "no_instances", "instances"),
        (b'{"inputs": []}', "no_instances", "inputs"),
        (b"null", "not_a_string", "instances[0]"),
        (b'["a", 5]', "not_a_string", "instances[1]"),
        (b'["a", true]', "not_a_string", "instances[1]"),
        (b'["a", ["b"]]', "not_a_string", "instances[1]"),
        (b'{"instances": [{"text": "a"}, {"txt": "b"}]}', "not_a_string", "instances[1]"),
        (b'{"inputs": ["a", "b", {"text": null}]}', "not_a_string", "inputs[2]"),
        (b'{"text": 5}', "not_a_string", "text[0]"),
        (b'["a", ""]', "empty_text", "instances[1]"),
        (b'{"inputs": [" \\n\\u00a0"]}', "empty_text", "inputs[0]"),
        (rb'["\ud800"]', "invalid_unicode", "instances[0]"),
        (rb'{"inputs": ["a", {"text": "b\udc00"}]}', "invalid_unicode", "inputs[1]"),
    ],
)
def test_json_without_usable_texts_is_refused_where_it_is_wrong(body, code, field):
    problem = _error(body)
    assert (problem.code, problem.field, problem.status) == (code, field, 400)


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"truncation": "cut"}, "parameters.truncation"),
        ({"threshold": 0}, "parameters.threshold"),
        ({"threshold": 1}, "parameters.threshold"),
        ({"threshold": 10**4000}, "parameters.threshold"),
        ({"threshold": "0.5"}, "parameters.threshold"),
        ({"all_scores": "yes"}, "parameters.all_scores"),
        ({"raw_logits": 1}, "parameters.raw_logits"),
        ({"treshold": 0.5}, "parameters.treshold"),
        ({"column": "body"}, "parameters.column"),
        ({"\ud800": 1}, "parameters"),
        ([1], "parameters"),
        ("error", "parameters"),
        (False, "parameters"),
        (0, "parameters"),
        ("", "parameters"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_a_wrong_parameter_is_refused_by_name(parameters, field):
    problem = _error(json.dumps({"inputs": "a", "parameters": parameters}))
    assert (problem.code, problem.field, problem.status) == ("invalid_parameter", field, 400)


def test_the_error_of_an_unknown_parameter_lists_the_known_ones():
    problem = _error('{"inputs": "a", "parameters": {"top_k": 1}}')
    assert "truncation, threshold, all_scores, raw_logits" in problem.message


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_a_number_that_json_does_not_have_is_no_json(number):
    assert _error(f'{{"text": "a", "parameters": {{"threshold": {number}}}}}').code == "invalid_json"


@pytest.mark.parametrize("body", ['{"text": "a", "text": "b"}', '[{"text": "a", "id": {"x": 1, "y": 2, "x": 1}}]'])
def test_a_key_given_twice_is_refused_at_any_depth(body):
    problem = _error(body)
    assert (problem.code, problem.field) == ("duplicate_key", None)
    assert repr("text" if "text" in problem.message else "x") in problem.message


def test_finding_the_key_given_twice_takes_no_longer_than_reading_the_body():
    body = "{" + ",".join(f'"{number}":0' for number in [*range(10_000), 9_999]) + "}"
    started = time.perf_counter()
    assert "'9999'" in _error(body).message
    assert time.perf_counter() - started < 5  # 20 ms on a usual machine; comparing each with each takes far longer


@pytest.mark.parametrize("unit", ["[]", '{"a":}'], ids=["lists", "objects"])
@pytest.mark.parametrize("depth", [500, 5_000, 500_000])
def test_deep_nesting_is_refused_and_harms_nothing(unit, depth):
    body = unit[:-1] * depth + "1" + unit[-1] * depth
    assert _error(body).code in ("invalid_json", "not_a_string", "missing_instances")


@pytest.mark.parametrize("digits", [400, 4_000, 5_000, 1_000_000])
def test_a_huge_number_is_refused_in_a_message_that_names_no_python(digits):
    problem = _error("[" + "9" * digits + "]")
    assert problem.code in ("not_a_string", "invalid_json")
    assert "sys." not in problem.message


def test_a_nul_is_part_of_a_text():
    assert _parse(r'["a\u0000b"]').strict().texts == _parse("a\0b\n", TEXT).strict().texts == ["a\0b"]
    assert _parse("a\0b\n", CSV).strict().texts == ["a\0b"]


@pytest.mark.parametrize(
    "body",
    [
        f'{{"text": "a", "parameters": {{"{LONG}": 1}}}}',
        f'{{"text": "a", "parameters": {{"truncation": "{LONG}"}}}}',
        f'{{"{LONG}": 1, "{LONG}": 1}}',
        f'[["{LONG}"]]',
    ],
    ids=["parameter", "value", "key twice", "instance"],
)
def test_an_error_message_is_short_whatever_was_sent(body):
    assert len(json.dumps(_error(body).as_dict())) < 1_000


# -- lines of text and of JSON


@pytest.mark.parametrize(
    ("body", "texts"),
    [
        ("a\nb\n", ["a", "b"]),
        ("a\r\nb", ["a", "b"]),
        ("a\n\n b \n", ["a", None, " b "]),
        ("\n", [None]),
        ("a\n\n", ["a", None]),
        ("one\rtext\u2028still\x85one\n", ["one\rtext\u2028still\x85one"]),
        ("text\n", ["text"]),
        ('"quotes", and commas\n', ['"quotes", and commas']),
        ("\ufeffa\n", ["a"]),
        ("grüße\n漢字\n", ["grüße", "漢字"]),
    ],
)
def test_a_line_of_plain_text_is_a_record(body, texts):
    assert _texts(_parse(body, TEXT)) == texts


@pytest.mark.parametrize(
    ("body", "texts"),
    [
        ('"a"\n"b"\n', ["a", "b"]),
        ('{"text": "a"}\r\n {"text": "b"} ', ["a", "b"]),
        ('{"text": "a", "id": 7}\n"b"', [None, "b"]),
        ('"a\\nb"\n', ["a\nb"]),
        ('"a\u2028b"\n', ["a\u2028b"]),
        ('"a"\n\n"b"\n', ["a", None, "b"]),
        ('"a"\n""\n', ["a", None]),
        ('"a"\nnonsense\n"b"\n', ["a", None, "b"]),
        ('["a", "b"]\n{"instances": ["a"]}\n5\nnull\n', [None, None, None, None]),
        ('{"text": "a", "text": "b"}\n"b"', [None, "b"]),
        ('\ufeff"a"\n', ["a"]),
    ],
)
def test_a_line_of_json_is_a_record(body, texts):
    assert _texts(_parse(body, JSON_LINES)) == texts


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("nonsense", "invalid_json"),
        ("", "invalid_json"),
        ("NaN", "invalid_json"),
        ("[" * 5_000, "invalid_json"),
        ('{"a": 1, "a": 2}', "duplicate_key"),
        ("5", "not_a_string"),
        ('{"txt": "a"}', "not_a_string"),
        ('" "', "empty_text"),
        (r'"\ud800"', "invalid_unicode"),
    ],
    ids=lambda value: value[:20],
)
def test_a_line_that_is_no_text_is_refused_by_its_place(line, code):
    problem = _error(f'"a"\n{line}\n"b"\n', JSON_LINES)
    assert (problem.code, problem.field, problem.status) == (code, "instances[1]", 400)


# -- CSV


@pytest.mark.parametrize(
    ("body", "texts"),
    [
        ("a\nb\n", ["a", "b"]),
        ("a\r\nb", ["a", "b"]),
        ("text\na\nb\n", ["a", "b"]),
        ("a\n\n\nb\n", ["a", None, None, "b"]),
        ("text\n\na\n", [None, "a"]),
        ("\n\n", [None, None]),
        ('a\n""\n', ["a", None]),
        ('"first line\nsecond line"\nb', ["first line\nsecond line", "b"]),
        ('text\r\n"a\r\n\r\nb"\r\n', ["a\r\n\r\nb"]),
        ('"a, with ""quotes"""\n', ['a, with "quotes"']),
        ('it is 5" wide\n', ['it is 5" wide']),
        ("\ufefftext\na\n", ["a"]),
        ('\ufeff"a"\n', ["a"]),
        ("a\nthe parcel is late, broken\nb\n", ["a", None, "b"]),
        ("the parcel is late, broken\nb\n", [None, "b"]),
        ("a,1\nb,0\n", [None, None]),
        ("label,text\n1,a\n0,b\n", ["a", "b"]),
        ("label,TEXT ,id\n1,a,7\n0,b,8\n", ["a", "b"]),
        ("grüße\n漢字\n", ["grüße", "漢字"]),
        ("a\n \n", ["a", None]),
        ("a\u2028b\n", ["a\u2028b"]),
        ("id,text\n1,a\n2\n3,c\n", ["a", None, "c"]),
    ],
)
def test_every_shape_of_csv_gives_its_texts(body, texts):
    assert _texts(_parse(body, CSV)) == texts


@pytest.mark.parametrize(
    ("header", "body", "texts"),
    [
        ("present", "message\na\n", ["a"]),
        ("present", "text\na\n", ["a"]),
        ("present", "label,text\n1,a\n", ["a"]),
        ("absent", "text\na\n", ["text", "a"]),
    ],
)
def test_the_media_type_says_whether_csv_has_a_header(header, body, texts):
    assert _parse(body, f"{CSV}; header={header}").strict().texts == texts


@pytest.mark.parametrize(
    ("query", "texts"),
    [("", ["a", "b"]), ("column=message", ["x", "y"]), ("column=Message", ["x", "y"]), ("column=id", ["1", "2"])],
)
def test_a_query_chooses_the_column_of_csv(query, texts):
    assert _parse("id,Message,text\n1,x,a\n2,y,b\n", CSV, query).strict().texts == texts


@pytest.mark.parametrize(
    ("body", "header", "query"),
    [
        ("id,message\n1,a\n", "present", ""),
        ("id,text\n1,a\n", "present", "column=message"),
        ("id,text\n1,a\n", None, "column=message"),
        ("message\na\n", "absent", "column=message"),
        ("a\nb\n", None, "column=message"),
        ("note\na\n", "present", "column=message"),
        ("note\na\n", "present", "column=text"),
        ("id,review\n17,a\n", None, ""),
    ],
)
def test_a_column_that_is_not_there_is_refused(body, header, query):
    problem = _error(body, f"{CSV}; header={header}" if header else CSV, query)
    assert (problem.code, problem.field, problem.status) == ("missing_column", "parameters.column", 400)
    assert f"'{query.partition('=')[2] or 'text'}'" in problem.message


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ("text\n", "no_instances", "instances"),
        ("\ufeff", "no_instances", "instances"),
        ('"never closed\n', "invalid_csv", "instances[0]"),
        ('a\n"a"b\n', "invalid_csv", "instances[1]"),
        ("id;review\n1;a\n", "invalid_csv", None),
        ('1, "late, broken"\n', "missing_column", "parameters.column"),
        ("id,text\n1,a\n2\n", "missing_column", "instances[1]"),
        ("a\n\nb\n", "empty_text", "instances[1]"),
        ("a\nthe parcel is late, broken\n", "field_count", "instances[1]"),
        ("id,text\n1,a\n2,late, broken\n", "field_count", "instances[1]"),
        ("id;text\n1;a\n", "invalid_csv", None),
    ],
)
def test_csv_without_usable_texts_is_refused_where_it_is_wrong(body, code, field):
    problem = _error(body, CSV)
    assert (problem.code, problem.field, problem.status) == (code, field, 400)


# -- parameters beside the body


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {}),
        ("truncation=windows", {"truncation": "windows"}),
        ("threshold=2e-1&all_scores=true", {"threshold": 0.2, "all_scores": True}),
        ("raw_logits=1&all_scores=false", {"raw_logits": True}),
    ],
)
def test_parameters_are_read_from_a_query_string(query, expected):
    assert line_parameters(query).model_dump(exclude_defaults=True) == expected
    for media_type in (JSON, TEXT, JSON_LINES):
        assert _parse('"a"', media_type, query).parameters.model_dump(exclude_defaults=True) == expected


@pytest.mark.parametrize(
    ("query", "column"),
    [("my%20texts", "my texts"), ("my+texts", "my texts"), ("gr%C3%BC%C3%9Fe", "grüße"), ("2", "2")],
)
def test_a_column_is_read_from_a_query_string_and_refused_where_there_are_no_columns(query, column):
    assert line_parameters(f"column={query}").column == column
    for media_type in (JSON, TEXT, JSON_LINES):
        problem = _error('"a"', media_type, f"column={query}")
        assert (problem.code, problem.field, problem.status) == ("invalid_parameter", "parameters.column", 400)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("threshold=1", "parameters.threshold"),
        ("threshold=nan", "parameters.threshold"),
        ("threshold=null", "parameters.threshold"),
        ("threshold=", "parameters.threshold"),
        ("all_scores=perhaps", "parameters.all_scores"),
        ("truncation=WINDOWS", "parameters.truncation"),
        ("column=", "parameters.column"),
        ("top_k=1", "parameters.top_k"),
        ("all_scores", "parameters.all_scores"),
        ("trace", "parameters.trace"),
        ("threshold=0.1&threshold=0.1", "parameters"),
    ],
)
def test_a_wrong_query_is_refused_by_name(query, field):
    problem = _error("a", TEXT, query)
    assert (problem.code, problem.field, problem.status) == ("invalid_parameter", field, 400)


# -- limits


@pytest.mark.parametrize(
    ("body", "media_type"),
    [('["a", "b", "c"]', JSON), ("a\nb\nc\n", CSV), ("a\n\nc", TEXT), ('"a"\nnone\n"c"', JSON_LINES)],
)
def test_as_many_texts_as_allowed_pass_and_one_more_is_too_many(body, media_type):
    assert len(_parse(body, media_type, limits=Limits(texts=3)).records) == 3
    problem = _error(body, media_type, limits=Limits(texts=2))
    assert (problem.code, problem.field, problem.status) == ("too_many_instances", "instances", 413)
    assert "more than 2 texts" in problem.message


@pytest.mark.parametrize(("body", "media_type"), [('["a", "漢字漢"]', JSON), ("a\n漢字漢\n", CSV), ("a\n漢字漢", TEXT)])
def test_a_text_of_just_the_limit_passes_and_one_character_more_is_too_large(body, media_type):
    assert _parse(body, media_type, limits=Limits(chars=3)).strict().texts == ["a", "漢字漢"]
    problem = _error(body, media_type, limits=Limits(chars=2))
    assert (problem.code, problem.field, problem.status) == ("text_too_large", "instances[1]", 413)


@pytest.mark.parametrize("media_type", [CSV, TEXT, JSON_LINES])
def test_a_body_without_a_record_is_refused(media_type):
    problem = _error("", media_type)
    assert (problem.code, problem.field, problem.status) == ("no_instances", "instances", 400)


def test_a_long_text_is_the_same_in_every_format():
    long = "many words " * 20_000 + "end"
    assert _parse(long, CSV).texts == _parse(long, TEXT).texts == _parse(json.dumps(long)).texts == [long]


@pytest.mark.parametrize("media_type", [JSON, JSON_LINES, CSV, TEXT])
def test_bytes_of_another_encoding_are_refused_at_their_place(media_type):
    problem = _error("grüße".encode("latin-1"), media_type)
    assert (problem.code, problem.field, problem.status) == ("invalid_encoding", None, 400)
    assert "not UTF-8 at byte 2" in problem.message


# -- invalid records


def test_only_strict_raises_the_first_error_of_a_request():
    request = Request(["a", INVALID, "b"])
    assert request.texts == ["a", "b"]
    assert Request(["a"]).strict().texts == ["a"]
    with pytest.raises(RequestError) as problem:
        request.strict()
    assert problem.value is INVALID


def test_outcomes_are_in_the_order_of_the_records():
    first, second = PREDICTION, Prediction("no", 0.9, "no", {}, (0.5, -0.5), 3, False)
    request = Request([INVALID, "a", INVALID, "b"])
    answers = {"a": first, "b": second}
    assert request.predict_each(lambda texts: [answers[text] for text in texts]) == [INVALID, first, INVALID, second]


def test_a_text_that_cannot_be_answered_fails_its_own_record_alone():
    def predict(texts):
        if "b" in texts:
            raise RequestError("text_too_long", "It is too long.", f"instances[{texts.index('b')}]")
        return [PREDICTION] * len(texts)

    outcomes = Request([INVALID, "a", "b", "c"]).predict_each(predict)
    assert outcomes[:2] == [INVALID, PREDICTION]
    assert outcomes[3] == PREDICTION
    assert (outcomes[2].code, outcomes[2].field) == ("text_too_long", "instances[2]")


def test_an_error_of_the_whole_request_is_raised():
    def predict(texts):
        raise RequestError("overloaded", "Try again.", status=503)

    with pytest.raises(RequestError, match=r"Try again\."):
        Request(["a", "b"]).predict_each(predict)


def test_each_line_format_gives_an_error_line_in_its_place():
    outcomes = [PREDICTION, INVALID, PREDICTION]
    csv_lines, text_lines, json_lines = (_response_lines(kind, outcomes) for kind in (CSV, TEXT, JSON_LINES))
    assert csv_lines == ["yes,0.75", ",", "yes,0.75"]
    assert text_lines == ["yes\t0.75", "\t", "yes\t0.75"]
    assert json.loads(json_lines[1]) == {"error": INVALID.as_dict()}
    assert [json.loads(line).get("label") for line in json_lines] == ["yes", None, "yes"]


def test_an_error_record_of_csv_has_as_many_cells_as_the_others():
    parameters = Parameters(all_scores=True, raw_logits=True)
    rows = list(csv.reader(_response_lines(CSV, [PREDICTION, INVALID], parameters)))
    assert rows == [["yes", "0.75", "0.25", "0.75", "-0.5", "0.5"], [""] * 6]


@NO_DEADLINE
@given(
    outcomes=st.lists(
        st.one_of(
            st.builds(RequestError, st.just("empty_text"), st.text(CHARACTERS), st.just("instances[0]")),
            st.builds(
                Prediction, *[LABELS, SCORES, LABELS], st.just({}), st.just((0.0, 0.0)), st.just(3), st.just(False)
            ),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_any_outcomes_give_one_line_each_in_order(outcomes):
    answered = [isinstance(outcome, Prediction) for outcome in outcomes]
    json_lines, csv_lines, text_lines = (_response_lines(kind, outcomes) for kind in (JSON_LINES, CSV, TEXT))
    assert ["label" in json.loads(line) for line in json_lines] == answered
    assert [bool(row[0]) for row in csv.reader(csv_lines)] == answered
    assert [line != "\t" for line in text_lines] == answered


# -- version 2 of the Open Inference Protocol


@pytest.mark.parametrize(
    ("shape", "data"),
    [
        ([2], ["a", "b"]),
        ([2, 1], [["a"], ["b"]]),
        ([1, 2], [["a", "b"]]),
        ([2, 1], ["a", "b"]),
        ([1, 1, 2], [[["a", "b"]]]),
    ],
)
def test_a_tensor_is_read_whether_its_data_are_nested_or_flat(shape, data):
    parsed = _infer(shape=shape, data=data)
    assert (parsed.strict().texts, parsed.shape, parsed.id) == (["a", "b"], shape, None)


def test_a_tensor_without_dimensions_is_one_text():
    assert _infer(shape=[], data=["a"]).strict().texts == ["a"]


@pytest.mark.parametrize(
    "body",
    [
        {"parameters": {"binary_data_output": True, "priority": 1, "timeout": 1000}},
        {"parameters": {"sequence_id": 7, "sequence_start": True, "sequence_end": False}},
        {"parameters": {"content_type": "pd", "headers": {"ce-id": "1"}}},
        {"parameters": None, "outputs": None, "id": None},
        {"model_name": "model", "model_version": None, "outputs": []},
        {"inputs": [TENSOR | {"parameters": {"content_type": "str"}}]},
        {"inputs": [TENSOR | {"parameters": {"binary_data": False}}]},
        {"outputs": [{"name": name, "parameters": {"binary_data": True}} for name in OUTPUTS]},
    ],
)
def test_parameters_that_client_libraries_add_on_their_own_have_no_effect(body):
    parsed = parse_infer(json.dumps({"inputs": [TENSOR]} | body).encode(), LIMITS)
    plain = parse_infer(json.dumps({"inputs": [TENSOR]}).encode(), LIMITS)
    assert (parsed.strict().texts, parsed.parameters, tuple(parsed.outputs)) == (
        ["a", "b"],
        plain.parameters,
        tuple(OUTPUTS),
    )


def test_parameters_of_the_protocol_do_not_hide_those_of_the_server():
    body = {"inputs": [TENSOR], "parameters": {"binary_data_output": True, "threshold": 0.2}}
    assert parse_infer(json.dumps(body).encode(), LIMITS).parameters.threshold == 0.2


def test_parameters_of_the_address_are_read_and_those_of_the_body_win():
    body = json.dumps({"inputs": [TENSOR], "parameters": {"threshold": 0.2}}).encode()
    parameters = parse_infer(body, LIMITS, "threshold=0.9&truncation=windows").parameters
    assert (parameters.threshold, parameters.truncation) == (0.2, "windows")
    for query in ("column=2", "all_scores=true", "top_k=1"):
        with pytest.raises(RequestError) as problem:
            parse_infer(body, LIMITS, query)
        assert problem.value.field == f"parameters.{query.partition('=')[0]}"


def test_a_reply_has_the_outputs_that_were_named_in_their_order():
    body = {"inputs": [TENSOR], "outputs": [{"name": "score"}, {"name": "label"}]}
    request = parse_infer(json.dumps(body).encode(), LIMITS)
    reply = json.loads(format_infer([PREDICTION, PREDICTION], request, "model", "abc"))
    assert [(tensor["name"], tensor["data"]) for tensor in reply["outputs"]] == [
        ("score", [0.75] * 2),
        ("label", ["yes"] * 2),
    ]


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({"outputs": [{"name": "label"}, {"name": "logits"}]}, "invalid_output", "outputs[1].name"),
        ({"outputs": [{"name": "label"}, {"name": "label"}]}, "invalid_output", "outputs[1].name"),
        ({"outputs": [{}]}, "invalid_request", "outputs[0].name"),
        ({"outputs": [{"name": "label", "more": 1}]}, "unknown_key", "outputs[0].more"),
        ({"outputs": "label"}, "invalid_request", "outputs"),
        (
            {"outputs": [{"name": "label", "parameters": {"classification": 1}}]},
            "invalid_parameter",
            "outputs[0].parameters.classification",
        ),
        ({"threshold": 0.5}, "unknown_key", "threshold"),
        ({"parameters": {"all_scores": True}}, "invalid_parameter", "parameters.all_scores"),
        ({"parameters": {"content_type": "base64"}}, "invalid_parameter", "parameters.content_type"),
        ({"inputs": [TENSOR | {"more": 1}]}, "unknown_key", "inputs[0].more"),
        (
            {"inputs": [TENSOR | {"parameters": {"content_type": "base64"}}]},
            "invalid_parameter",
            "inputs[0].parameters.content_type",
        ),
        (
            {"inputs": [TENSOR | {"parameters": {"content_type": ["str"]}}]},
            "invalid_parameter",
            "inputs[0].parameters.content_type",
        ),
        (
            {"inputs": [TENSOR | {"parameters": {"shared_memory_region": "a"}}]},
            "invalid_parameter",
            "inputs[0].parameters.shared_memory_region",
        ),
        ({"inputs": [TENSOR | {"parameters": {"binary_data_size": 7}}]}, "binary_tensors", "inputs[0].parameters"),
    ],
)
def test_what_is_not_the_protocols_own_is_refused_by_name(body, code, field):
    with pytest.raises(RequestError) as problem:
        parse_infer(json.dumps({"inputs": [TENSOR]} | body).encode(), LIMITS)
    assert (problem.value.code, problem.value.field, problem.value.status) == (code, field, 400)


def test_a_tensor_request_takes_parameters():
    body = {"inputs": [TENSOR], "parameters": {"threshold": 0.2, "truncation": "windows"}}
    parameters = parse_infer(json.dumps(body).encode(), LIMITS).parameters
    assert (parameters.threshold, parameters.truncation) == (0.2, "windows")


@pytest.mark.parametrize(
    ("changed", "code", "field"),
    [
        ({"shape": [3]}, "invalid_shape", "inputs[0].shape"),
        ({"shape": [2, 2]}, "invalid_shape", "inputs[0].shape"),
        ({"shape": []}, "invalid_shape", "inputs[0].shape"),
        ({"shape": [0]}, "invalid_shape", "inputs[0].shape"),
        ({"shape": [-1, -2]}, "invalid_request", "inputs[0].shape[0]"),
        ({"shape": [2.0]}, "invalid_request", "inputs[0].shape[0]"),
        ({"shape": [1, True]}, "invalid_request", "inputs[0].shape[1]"),
        ({"shape": 2}, "invalid_request", "inputs[0].shape"),
        ({"datatype": "FP32"}, "invalid_request", "inputs[0].datatype"),
        ({"datatype": "bytes"}, "invalid_request", "inputs[0].datatype"),
        ({"name": 5}, "invalid_request", "inputs[0].name"),
        ({"data": "ab"}, "invalid_request", "inputs[0].data"),
        ({"data": ["a", 5]}, "not_a_string", "inputs[0].data[1]"),
        ({"data": ["a", None]}, "not_a_string", "inputs[0].data[1]"),
        ({"data": ["a", ""]}, "empty_text", "inputs[0].data[1]"),
        ({"data": ["\ud800", "b"]}, "invalid_unicode", "inputs[0].data[0]"),
        ({"data": [], "shape": [0]}, "no_instances", "inputs[0].data"),
    ],
)
def test_a_wrong_tensor_is_refused_where_it_is_wrong(changed, code, field):
    with pytest.raises(RequestError) as problem:
        _infer(**changed).strict()
    assert (problem.value.code, problem.value.field, problem.value.status) == (code, field, 400)


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        (b"", "invalid_json", None),
        (b"\xff", "invalid_encoding", None),
        (b"[]", "invalid_request", None),
        (b"{}", "invalid_request", "inputs"),
        (b'{"inputs": []}', "invalid_request", "inputs"),
        (b'{"inputs": [{}]}', "invalid_request", "inputs[0].name"),
        (json.dumps({"inputs": [TENSOR, TENSOR]}).encode(), "invalid_request", "inputs"),
        (json.dumps({"inputs": [TENSOR], "id": 7}).encode(), "invalid_request", "id"),
        (json.dumps({"inputs": [TENSOR], "id": "\ud800"}).encode(), "invalid_request", "id"),
        (
            json.dumps({"inputs": [TENSOR], "parameters": {"top_k": 1}}).encode(),
            "invalid_parameter",
            "parameters.top_k",
        ),
        (json.dumps({"inputs": [TENSOR], "parameters": 5}).encode(), "invalid_request", "parameters"),
    ],
)
def test_a_wrong_tensor_request_is_refused_where_it_is_wrong(body, code, field):
    with pytest.raises(RequestError) as problem:
        parse_infer(body, LIMITS)
    assert (problem.value.code, problem.value.field, problem.value.status) == (code, field, 400)


@pytest.mark.parametrize("shape", [[1] * 100_000, [10**4_000] * 50], ids=["many dimensions", "huge dimensions"])
def test_an_absurd_shape_is_refused_in_short(shape):
    with pytest.raises(RequestError) as problem:
        _infer(shape=shape)
    assert problem.value.field.startswith("inputs[0].shape")
    assert len(problem.value.message) < 1_000


def test_a_tensor_has_the_limits_of_any_request():
    with pytest.raises(RequestError) as many:
        parse_infer(json.dumps({"inputs": [TENSOR]}).encode(), Limits(texts=1))
    assert (many.value.code, many.value.field, many.value.status) == ("too_many_instances", "inputs[0].data", 413)


@pytest.mark.parametrize("identity", [None, "", "7", "grüße"])
def test_a_tensor_reply_has_the_id_and_the_shape_of_its_request(identity):
    request = InferenceRequest(["a", "b"], id=identity, shape=[2, 1])
    reply = json.loads(format_infer([PREDICTION, PREDICTION], request, "model", "abc"))
    assert (reply["model_name"], reply["model_version"], reply.get("id")) == ("model", "abc", identity)
    assert [tensor["shape"] for tensor in reply["outputs"]] == [[2, 1]] * 5
    tensors = {tensor["name"]: (tensor["datatype"], tensor["data"]) for tensor in reply["outputs"]}
    assert tensors["label"] == ("BYTES", ["yes", "yes"])
    assert tensors["score"] == ("FP64", [0.75, 0.75])
    assert tensors["decision"] == ("BYTES", ["review", "review"])
    assert tensors["tokens"] == ("INT64", [4, 4])
    assert tensors["truncated"] == ("BOOL", [False, False])


# -- replies


def test_a_json_reply_has_only_what_was_asked_for():
    model = {"version": "abc", "variant": "int8"}
    expected = {"label": "yes", "score": 0.75, "decision": "review", "tokens": 4, "truncated": False}
    reply = json.loads(format_response(JSON, [PREDICTION, PREDICTION], Parameters(), model))
    assert reply == {"predictions": [expected, expected], "model": model}
    assert json.loads(format_predictions([PREDICTION], Parameters())) == {"predictions": [expected]}


@pytest.mark.parametrize(
    ("parameters", "added"),
    [
        ({"all_scores": True}, {"scores": {"no": 0.25, "yes": 0.75}}),
        ({"raw_logits": True}, {"logits": [-0.5, 0.5]}),
        ({"truncation": "windows"}, {"windows": 1}),
        ({"truncation": "error", "threshold": 0.9}, {}),
    ],
)
def test_a_json_reply_adds_what_was_asked_for(parameters, added):
    (prediction,) = json.loads(format_predictions([PREDICTION], Parameters(**parameters)))["predictions"]
    (line,) = _response_lines(JSON_LINES, [PREDICTION], Parameters(**parameters))
    usual = {"label", "score", "decision", "tokens", "truncated"}
    assert {key: value for key, value in prediction.items() if key not in usual} == added
    assert json.loads(line) == prediction


@pytest.mark.parametrize(
    ("parameters", "cells"),
    [
        ({}, ""),
        ({"all_scores": True}, "\t0.25\t0.75"),
        ({"all_scores": True, "raw_logits": True}, "\t0.25\t0.75\t-0.5\t0.5"),
    ],
)
def test_a_plain_reply_has_label_score_and_what_else_was_asked_for(parameters, cells):
    assert _response_lines(TEXT, [PREDICTION, INVALID], Parameters(**parameters)) == [
        f"yes\t0.75{cells}",
        "\t" + "\t" * cells.count("\t"),
    ]


@NO_DEADLINE
@given(score=SCORES)
def test_a_score_keeps_every_digit_in_every_format(score):
    prediction = Prediction("yes", score, "yes", {}, (0.0, 0.0), 3, False)
    (as_json,), (as_csv,), (as_text,) = (_response_lines(kind, [prediction]) for kind in (JSON_LINES, CSV, TEXT))
    assert json.loads(as_json)["score"] == score
    assert [float(as_csv.split(",")[1]), float(as_text.split("\t")[1])] == [score, score]


@NO_DEADLINE
@given(answers=st.lists(st.tuples(st.sampled_from(["escalate", "not, at all", 'so-called "fine"']), SCORES)))
def test_any_answers_written_as_csv_are_read_back(answers):
    predictions = [Prediction(label, score, label, {}, (0.0, 0.0), 3, False) for label, score in answers]
    rows = csv.reader(_response_lines(CSV, predictions))
    assert [(label, float(score)) for label, score in rows] == answers


# -- round trips of any text; a text without words is an invalid record


@NO_DEADLINE
@given(texts=TEXTS, wrap=st.sampled_from(["list", "instances", "inputs", "objects"]), ascii_only=st.booleans())
def test_any_texts_written_as_json_are_read_back(texts, wrap, ascii_only):
    items = [{"text": text} for text in texts] if wrap == "objects" else texts
    content = items if wrap == "list" else {"inputs" if wrap == "inputs" else "instances": items}
    assert _texts(_parse(json.dumps(content, ensure_ascii=ascii_only))) == _readable(texts)


@NO_DEADLINE
@given(texts=TEXTS, ascii_only=st.booleans(), end=st.sampled_from(["", "\n"]), crlf=st.booleans())
def test_any_texts_written_as_json_lines_are_read_back(texts, ascii_only, end, crlf):
    body = ("\r\n" if crlf else "\n").join(json.dumps(text, ensure_ascii=ascii_only) for text in texts) + end
    assert _texts(_parse(body, JSON_LINES)) == _readable(texts)


@NO_DEADLINE
@given(texts=LINES, line_break=st.sampled_from(["\n", "\r\n"]))
def test_any_lines_written_as_plain_text_are_read_back(texts, line_break):
    body = "\ufeff" + "".join(text + line_break for text in texts)
    assert _texts(_parse(body, TEXT)) == _readable(texts)


@NO_DEADLINE
@given(
    texts=TEXTS,
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    others=st.lists(st.sampled_from(["id", "label", "note, free"]), max_size=2),
    start=st.sampled_from(["", "\ufeff"]),
)
def test_any_texts_written_as_csv_are_read_back(texts, quoting, others, start):
    rows = [[*others, "text"], *([*others, text] for text in texts)]
    assert _texts(_parse(start + _written_csv(rows, quoting), CSV)) == _readable(texts)


@NO_DEADLINE
@given(texts=TEXTS)
def test_any_texts_written_as_csv_without_a_header_are_read_back(texts):
    body = _written_csv([[text] for text in texts], csv.QUOTE_ALL)
    assert _texts(_parse(body, f"{CSV}; header=absent")) == _readable(texts)


@NO_DEADLINE
@given(texts=TEXTS, rows=st.booleans(), ascii_only=st.booleans(), identity=st.none() | st.text(CHARACTERS))
def test_any_texts_written_as_a_tensor_are_read_back(texts, rows, ascii_only, identity):
    tensor = {"name": "text", "datatype": "BYTES"}
    tensor |= {"shape": [len(texts), 1], "data": [[text] for text in texts]} if rows else _flat(texts)
    body = json.dumps({"inputs": [tensor], "id": identity}, ensure_ascii=ascii_only)
    parsed = parse_infer(body.encode(), LIMITS)
    assert (_texts(parsed), parsed.id) == (_readable(texts), identity)


@NO_DEADLINE
@given(body=st.binary(max_size=200), kind=st.sampled_from([JSON, JSON_LINES, CSV, TEXT, f"{CSV}; charset=utf-16"]))
def test_any_bytes_are_read_or_refused(body, kind):
    with suppress(RequestError):
        assert _parse(body, kind).records


def _parse(body, media_type=JSON, query="", limits=LIMITS):
    return parse(body if isinstance(body, bytes) else body.encode(), content_type(media_type), limits, query)


def _infer(**changed):
    return parse_infer(json.dumps({"inputs": [TENSOR | changed]}).encode(), LIMITS)


def _error(body, media_type=JSON, query="", limits=LIMITS):
    with pytest.raises(RequestError) as problem:
        _parse(body, media_type, query, limits).strict()
    assert problem.value.message.endswith(".")
    return problem.value


def _texts(request):
    """Return the text of each record; None for an invalid one."""
    return [record if isinstance(record, str) else None for record in request.records]


def _readable(texts):
    return [text if text.strip() else None for text in texts]


def _flat(texts):
    return {"shape": [len(texts)], "data": texts}


def _response_lines(media_type, outcomes, parameters=None):
    """Return the lines of a response; check that no value contains a line break."""
    reply = format_response(media_type, outcomes, parameters or Parameters(), {}).decode()
    assert reply.count("\n") == len(outcomes)
    return reply.split("\n")[:-1]


def _written_csv(rows, quoting):
    written = io.StringIO(newline="")
    csv.writer(written, quoting=quoting).writerows(rows)
    return written.getvalue()
