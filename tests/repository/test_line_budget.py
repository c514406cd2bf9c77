"""The code of `ops` stays small: tools of the cloud vendors do the rest from configuration files."""

from tests.conftest import ROOT

BUDGETS = {"ops": 2600}  # lines of Python, as `wc -l` counts them


def test_the_python_of_a_folder_is_within_its_budget():
    for folder, budget in BUDGETS.items():
        lines = {path: path.read_bytes().count(b"\n") for path in (ROOT / folder).rglob("*.py")}
        assert sum(lines.values()) <= budget, f"{folder}: {sum(lines.values())} lines; at most {budget} are allowed"
