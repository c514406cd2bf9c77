"""The code of `ops` stays small: what a vendor's own tool does from a file needs no Python."""

from tests.conftest import ROOT

BUDGETS = {"ops": 2600}  # lines of Python, all of them, as `wc -l` counts


def test_the_python_of_a_folder_is_within_its_budget():
    for folder, budget in BUDGETS.items():
        lines = {path: path.read_bytes().count(b"\n") for path in (ROOT / folder).rglob("*.py")}
        assert sum(lines.values()) <= budget, f"{folder}: {sum(lines.values())} lines; at most {budget} are allowed"
