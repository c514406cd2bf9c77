"""Settings that are paths: relative ones start at the working directory; names of hubs and images do not change."""

import pytest

from bert_textclassification.training.settings.paths import absolute_paths


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    (tmp_path / "models/mybert").mkdir(parents=True)
    (tmp_path / "prices.yaml").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", ["data", "base_model", "serve_with", "behavioral_tests", "prices"])
@pytest.mark.parametrize("written", ["models/mybert", "./models/../models/mybert", "~/models/mybert"])
def test_what_is_there_is_absolute(name, written, here):
    found = absolute_paths({name: written})[name]
    assert found.startswith("/")
    assert (here / "models/mybert").samefile(found)


@pytest.mark.parametrize(
    ("name", "elsewhere"),
    [
        ("data", "nyu-mll/glue:sst2"),
        ("base_model", "sentence-transformers/all-MiniLM-L6-v2"),
        ("serve_with", "registry.example:5000/mine/serve:1.0"),
        ("text_column", "models"),
        ("threshold_objective", "models/mybert"),
        ("behavioral_tests", ""),
        ("target", "image --config prices.yaml"),
    ],
)
def test_a_name_of_another_place_stays_as_it_is(name, elsewhere):
    assert absolute_paths({name: elsewhere}) == {name: elsewhere}


@pytest.mark.parametrize("name", ["behavioral_tests", "prices"])
def test_a_file_that_is_not_there_is_looked_for_where_the_user_stands(name, here):
    assert absolute_paths({name: "nowhere.yaml"}) == {name: str(here / "nowhere.yaml")}


def test_a_folder_with_the_name_of_a_model_of_the_hub_goes_first(here):
    (here / "prajjwal1/bert-tiny").mkdir(parents=True)
    assert absolute_paths({"base_model": "prajjwal1/bert-tiny"}) == {"base_model": str(here / "prajjwal1/bert-tiny")}


def test_what_is_no_text_stays_as_it_is():
    assert absolute_paths({"epochs": 2, "behavioral_tests": None, "drop_issues": ["repeat"]}) == {
        "epochs": 2,
        "behavioral_tests": None,
        "drop_issues": ["repeat"],
    }
