"""The field of a CSV record that holds the text: never a guess, and the same for every part of a file."""

import pytest

from bert_textclassification.errors import RequestError
from bert_textclassification.serving.protocols.csv_texts import Column, read_texts

FILE = 'id,review\n17,the parcel is late\n18,"late, and broken"\n'
PART = '19,where is it\n20,"gone, I fear"\n'  # a later part of the same file, which has no header


def texts(body, column=None, header=None):
    """Return the text of each record, or the code of its error."""
    records = read_texts(body, Column.parse(column), header, max_texts=100)
    return [record.code if isinstance(record, RequestError) else record for record in records]


def message(body, column=None, header=None):
    """Return the message of the first error."""
    records = read_texts(body, Column.parse(column), header, max_texts=100)
    return next(record.message for record in records if isinstance(record, RequestError))


@pytest.mark.parametrize("column", ["review", "REVIEW", " review ", "review,2", "Review,2"])
def test_a_name_finds_its_column_where_there_is_a_header(column):
    assert texts(FILE, column) == ["the parcel is late", "late, and broken"]


@pytest.mark.parametrize("column", ["2", "review,2", "text,2", "1,2"])
def test_a_position_finds_the_texts_of_a_part_without_a_header(column):
    assert texts(PART, column) == ["where is it", "gone, I fear"]


@pytest.mark.parametrize("column", ["review,2", "text,2"])
def test_every_part_of_a_file_gives_a_record_for_each_line_below_the_header(column):
    whole = FILE.replace("review", column.partition(",")[0]) + PART
    lines = whole.splitlines(keepends=True)
    for cut in range(1, len(lines)):
        parts = texts("".join(lines[:cut]), column) + texts("".join(lines[cut:]), column)
        assert parts == texts(whole, column) == [*texts(FILE, "review"), *texts(PART, "2")]


@pytest.mark.parametrize("column", [None, "review", "text"])
def test_a_part_without_a_header_is_refused_where_the_position_is_not_known(column):
    assert set(texts(PART, column)) <= {"missing_column", "field_count"}
    assert len(texts(PART, column)) == 2


def test_an_id_that_is_the_number_of_the_column_is_no_header():
    assert texts("2,first\n3,second\n", "2") == ["first", "second"]


def test_a_number_that_a_declared_header_has_is_a_name():
    assert texts("2,1\na,b\n", "2", header="present") == ["a"]


def test_a_position_alone_skips_a_header_only_where_the_field_is_named_text():
    assert texts("id,text\n1,a\n", "2") == ["a"]
    assert texts("text,id\na,1\n", "2") == ["id", "1"]
    assert texts("id,review\n1,a\n", "2") == ["review", "a"]
    assert texts("id,review\n1,a\n", "2", header="present") == ["a"]
    assert texts("id,text\n1,a\n", "2", header="absent") == ["text", "a"]


def test_a_single_column_needs_no_name_and_its_header_is_told_by_text_alone():
    assert texts("text\na\n") == ["a"]
    assert texts("a\nb\n") == ["a", "b"]
    assert texts("review\na\n") == ["review", "a"]
    assert texts("review\na\n", header="present") == ["a"]
    assert texts("review\na\n", "review") == texts("a\n", "review,1") == ["a"]


def test_the_error_names_the_columns_of_the_header():
    error_message = message(FILE)
    assert "no column 'text', only id, review;" in error_message
    assert "column=2" in error_message
    assert texts(FILE) == ["missing_column", "field_count", "field_count"]


def test_a_record_with_another_number_of_fields_is_refused_alone_with_a_hint_to_quote():
    body = "the parcel is late\nthe parcel is late, broken\nhello\n"
    assert texts(body) == ["the parcel is late", "field_count", "hello"]
    assert "Record 2 has 2 fields instead of one; put double quotes" in message(body)
    assert texts("id,text\n1,a\n2,late, broken\n3\n\n4,b\n") == [
        "a", "field_count", "missing_column", "missing_column", "b",
    ]  # fmt: skip
    assert "Record 2 has 3 fields, but the others have 2" in message("id,text\n1,a\n2,late, broken\n")


def test_the_usual_number_of_fields_is_that_of_most_records_where_there_is_no_header():
    assert texts("1,late, broken\n2,a\n3,b\n", "2") == ["field_count", "a", "b"]


def test_a_position_behind_the_last_field_is_refused():
    assert texts("a\nb\n", "2") == ["missing_column", "missing_column"]
    assert "the text is field 2" in message("a\nb\n", "2")


def test_a_header_with_the_name_twice_is_refused():
    assert texts("text,id,text\na,1,b\n") == ["ambiguous_column", "ambiguous_column"]
    assert texts("text,id,text\na,1,b\n", "3") == ["b"]


@pytest.mark.parametrize(("separator", "named"), [(";", "semicolons"), ("\t", "tabs"), ("|", "vertical bars")])
@pytest.mark.parametrize("row", ["id{0}text\n1{0}late, broken\n", '"id"{0}"text"\n"1"{0}"late"\n'])
def test_another_separator_is_named(separator, named, row):
    body = row.format(separator)
    try:
        error_message = message(body)
    except RequestError as problem:
        error_message = problem.message
    assert error_message == f"The fields are separated by {named}; separate them by commas."


def test_another_separator_is_named_where_a_position_is_given():
    assert "not by semicolons" in message("1;a\n2;b\n", "2")


def test_a_text_with_semicolons_is_a_text():
    assert texts("late; broken\ntext; and more\n") == ["late; broken", "text; and more"]
    assert texts("text; and more\n", header="absent") == ["text; and more"]


@pytest.mark.parametrize("column", ["0", "review,0", "99999", "9" * 5000])
def test_a_position_out_of_bounds_is_refused(column):
    with pytest.raises(RequestError, match="from 1 to") as problem:
        Column.parse(column)
    assert (problem.value.code, problem.value.field) == ("invalid_parameter", "parameters.column")


@pytest.mark.parametrize("column", ["-1", "1.5", "²", "٣"])
def test_what_is_no_position_is_a_name(column):
    assert texts(f"id,{column}\n1,a\n", column) == ["a"]
    assert set(texts(PART, column)) == {"missing_column"}


def test_what_a_media_type_says_of_the_header_is_not_ignored():
    with pytest.raises(RequestError, match="present or absent"):
        texts("a\n", header="perhaps")


def test_a_long_record_is_not_repeated_in_the_error():
    assert len(message(",".join(["x" * 1000] * 1000) + "\n")) < 600


@pytest.mark.parametrize("column", ["review,1", "review,3"])
def test_a_header_with_the_name_at_another_place_is_refused(column):
    assert set(texts(FILE, column)) == {"ambiguous_column"}
    assert f"'review' as field 2, but column={column} says field {column[-1]}" in message(FILE, column)


@pytest.mark.parametrize(
    "line",
    ['1, "late, broken"', "1,'late, broken'", '1,the "late, broken" lift', '1, "late broken"', "1, 'late, broken'"],
)
def test_a_quote_that_does_not_begin_its_field_is_refused_alone(line):
    assert texts(f"{line}\n{line}\n", "2") == ["invalid_csv", "invalid_csv"]
    assert "start that field with a double quote" in message(f"{line}\n", "2")
    assert texts(f"id,text\n2,fine\n{line}\n") == ["fine", "invalid_csv"]


@pytest.mark.parametrize(
    "line", ['1,3" pipe', '1,"a 3"" pipe, a 4"" pipe"', '1,she said "hi"', "1,'tis late", "1,\"it's late, isn't it\""]
)
def test_quotes_that_belong_to_a_text_are_no_mistake(line):
    assert texts(f"{line}\n", "2") != ["invalid_csv"]


@pytest.mark.parametrize("column", [None, "1"])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_an_invalid_record_fails_alone(column, number):
    records, expected = ["a", "b", "c"], ["a", "b", "c"]
    records[number], expected[number] = '"bad" x', "invalid_csv"
    assert texts("".join(f"{record}\n" for record in records), column) == expected


def test_what_follows_a_quote_that_is_never_closed_is_one_record():
    assert texts('a\n"b\nc\n') == ["a", "invalid_csv"]
    assert "Record 2 is not valid CSV" in message('a\n"b\nc\n')


@pytest.mark.parametrize(("separator", "name"), [(";", "semicolons"), ("\t", "tabs"), ("|", "vertical bars")])
def test_a_table_with_another_separator_is_no_column_of_texts(separator, name):
    body = "id,review\n1,the lift is stuck\n2,hello\n".replace(",", separator)
    assert set(texts(body)) == {"invalid_csv"}
    assert name in message(body)
    assert texts(body, header="absent") == body.splitlines()  # `header=absent` overrides the check


def test_texts_with_semicolons_are_texts():
    assert texts("late; broken\nstuck; again\n") == ["late; broken", "stuck; again"]
    assert texts("yes;no\nwhere is it\n") == ["yes;no", "where is it"]


@pytest.mark.parametrize("column", ["-1", "2.0", "2,"])
def test_the_error_suggests_a_position(column):
    assert "such as column=2, or put double quotes" in message(FILE, column)


def test_the_error_suggests_a_name_of_what_looks_like_a_header():
    first, *_ = read_texts("id,msg\n1,hello\n", Column.parse(None), None, 10)
    assert "such as column=msg if the first line is a header, else column=2" in first.message
