"""How every command of ops carries out its plan."""

import pytest

from bert_textclassification.errors import UserError
from ops.plan import Step, carry_out, exit_status


class Cloud:
    """Steps that record in order what they created and what they deleted again."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.undone: list[str] = []

    def step(self, name: str, fails: BaseException | None = None) -> Step:
        def run() -> None:
            if fails is not None:
                raise fails
            self.made.append(name)

        return Step(f"create {name}", run, {"Name": name}, lambda: name in self.made, lambda: self.undone.append(name))


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


def test_without_yes_the_plan_is_printed_and_nothing_changes(cloud, capsys):
    carry_out([cloud.step("model"), cloud.step("endpoint")], yes=False)
    assert cloud.made == []
    assert capsys.readouterr().out == (
        "1. create model\n     Name: model\n2. create endpoint\n     Name: endpoint\n"
        "Nothing was changed. Add --yes to do it.\n"
    )


def test_the_same_plan_twice_does_nothing_the_second_time(cloud):
    steps = [cloud.step("model"), cloud.step("endpoint")]
    carry_out(steps, yes=True)
    carry_out(steps, yes=True)
    assert cloud.made == ["model", "endpoint"]


@pytest.mark.parametrize("failure", [UserError("no quota"), KeyboardInterrupt()])
def test_when_a_step_fails_the_steps_are_undone_in_reverse_order(cloud, failure):
    with pytest.raises(type(failure)):
        carry_out([cloud.step("model"), cloud.step("config"), cloud.step("endpoint", failure)], yes=True)
    assert cloud.undone == ["endpoint", "config", "model"]


def test_existing_resources_are_not_undone(cloud):
    cloud.made.append("model")
    with pytest.raises(UserError):
        carry_out([cloud.step("model"), cloud.step("endpoint", UserError("no quota"))], yes=True)
    assert cloud.undone == ["endpoint"]


def test_an_error_of_the_user_is_one_line_and_status_1(capsys):
    def run() -> None:
        raise UserError("There is no role; set `role`.")

    assert exit_status(run) == 1
    assert capsys.readouterr().err == "error: There is no role; set `role`.\n"
