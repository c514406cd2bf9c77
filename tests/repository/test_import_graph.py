"""Imports run one way: no circles, no import of a higher layer, and an up-to-date picture."""

import pytest

from tools import import_graph


@pytest.fixture
def package(tmp_path):
    """A function that writes modules with this source and returns their import graph and files."""

    def _package(**lines: str):
        folder = tmp_path / "bert_textclassification"
        for name, source in {"": "", **lines}.items():
            path = folder.joinpath(*name.split("__")).with_suffix(".py") if name else folder / "__init__.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            (path.parent / "__init__.py").touch()
            path.write_text(source)
        return import_graph.import_graph(folder), import_graph.modules(folder)

    return _package


def test_imports_run_one_way():
    assert import_graph.problems(import_graph.import_graph(), import_graph.modules()) == []


def test_the_picture_is_up_to_date():
    assert import_graph.main(["--check"]) == 0


def test_a_circle_is_found_also_behind_an_import_in_a_function(package):
    graph, files = package(
        errors="from bert_textclassification import one",
        one="def late():\n    from bert_textclassification.errors import Problem",
    )
    assert any(problem.startswith("Circle: errors -> one") for problem in import_graph.problems(graph, files))


def test_a_circle_of_packages_is_found_where_their_modules_have_none(package):
    graph, files = package(
        training__data__files="",
        training__data__load="import bert_textclassification.training.checks.rows",
        training__checks__rows="from bert_textclassification.training.data import files",
    )
    assert "Circle: training.checks -> training.data." in import_graph.problems(graph, files)


@pytest.mark.parametrize(
    ("lower", "upper"),
    [("artifact", "engines"), ("engines", "serving"), ("serving", "training"), ("training", "benchmarks")],
)
def test_no_layer_imports_a_higher_one(package, lower, upper):
    source = f"from bert_textclassification.{upper}.there import name"
    graph, files = package(**{f"{lower}__here": source, f"{upper}__there": "name = 1"})
    assert import_graph.problems(graph, files) == [f"{lower}.here imports {upper}.there, which lies above {lower}."]


def test_an_outdated_picture_is_reported(package, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(import_graph, "PICTURE", tmp_path / "import_graph.svg")
    assert import_graph.main(["--check"]) == 1
    assert "out of date" in capsys.readouterr().out
    assert import_graph.main([]) == 0
    assert import_graph.main(["--check"]) == 0
