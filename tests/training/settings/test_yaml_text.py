"""YAML is read strictly: no duplicate keys, nothing that contains itself, and every mistake is a YAMLError."""

from itertools import pairwise

import pytest
import yaml

from bert_textclassification.errors import ConfigurationError
from bert_textclassification.training.command_line_settings import parse_settings
from bert_textclassification.training.settings.yaml_text import MAX_BYTES, read_yaml, read_yaml_file


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 1\nb: 2\na: 3", "the key 'a' is given twice"),
        ("a: {b: 1, b: 2}", "the key 'b' is given twice"),
        ("- {1: a, 1: b}", "the key '1' is given twice"),
        ("a: &x [*x]", "it contains itself"),
        ("a: &x {b: *x}", "it contains itself"),
        (
            "a: &a [x, x]\n" + "".join(f"{b}: &{b} [{', '.join(['*' + a] * 9)}]\n" for a, b in pairwise("abcdefghij")),
            "more than 100,000 values",
        ),
        ("[" * 5000, "nested too deeply"),
        ("day: 2024-13-45", "'2024-13-45' is not a valid value of its type, put it in quotes if it is a text"),
        ("a: !!bool maybe", "is not a valid value of its type"),
        ("a: !!timestamp soon", "is not a valid value of its type"),
        ("a: [", "expected"),
        ("!!python/object/apply:os.system [ls]", "could not determine a constructor"),
    ],
)
def test_what_cannot_be_meant_is_a_yaml_error(text, says):
    with pytest.raises(yaml.YAMLError, match=says):
        read_yaml(text)


def test_the_line_of_a_repeated_key_is_known():
    with pytest.raises(yaml.MarkedYAMLError) as caught:
        read_yaml("a: 1\nb: 2\na: 3")
    assert caught.value.problem_mark.line == 2


def test_anchors_merges_and_everything_else_are_read_as_before():
    text = "base: &b {x: 1, y: 2}\none: &o {<<: *b, x: 3}\ntwo: {<<: *o, y: 4}\nlist: [*b, *b, 2024-01-02, ~]"
    assert read_yaml(text) == yaml.safe_load(text)
    assert read_yaml("") is None


def test_a_value_of_a_command_line_is_read_strictly():
    with pytest.raises(ConfigurationError, match=r"drop_issues=.* cannot be read"):
        parse_settings(["drop_issues={a: 1, a: 2}"])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"a: 1\na: 2", r"line 2 cannot be read: it is not valid YAML \(the key 'a' is given twice\); correct it\.$"),
        (b"a: \xff", "is not UTF-8; save it as UTF-8"),
        (b"#" * (MAX_BYTES + 1), "more than 1,000,000 bytes"),
        (None, r"cannot be read \(No such file or directory\)"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_in_one_sentence(tmp_path, content, says):
    path = tmp_path / "settings.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=says) as caught:
        read_yaml_file(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
