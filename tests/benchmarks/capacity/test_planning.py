"""The capacity plan: number of instances, their cost, and the source of the prices."""

import json

import pandas as pd
import pytest

from bert_textclassification.benchmarks import plots
from bert_textclassification.benchmarks.capacity import planning
from bert_textclassification.benchmarks.capacity.planning import Traffic, cheapest_plans, plan
from bert_textclassification.benchmarks.capacity.queueing import Service
from bert_textclassification.errors import ConfigurationError, UserError
from bert_textclassification.training.notebooks import deployment
from bert_textclassification.training.settings.prices import Prices, read_prices
from tests.conftest import ROOT

SERVICE = Service.of_samples([10.0])  # 100 requests/s a core
PRICES = Prices(
    date="2026-01-31",
    source="a test",
    checked=True,
    instances={"large": {"cores": 8, "dollars_per_hour": 1}, "small": {"cores": 2, "dollars_per_hour": 0.2}},
)


def test_instances_carry_the_peak_at_the_utilisation_and_one_is_spare():
    traffic = Traffic(requests_per_day=86_400 * 1000, peak_over_mean=2, utilisation=0.5)  # 2000 a second at the peak
    plans = plan(SERVICE, traffic, PRICES)
    assert plans["instances"].to_dict() == {"small": 20 + 1, "large": 5 + 1}
    assert plans.loc["small", "utilisation"] == pytest.approx(2000 / (21 * 200))


def test_the_cheapest_is_first_and_a_million_costs_its_share_of_the_month():
    cheapest = plan(SERVICE, Traffic(86_400 * 1000, 2, 0.5), PRICES).iloc[0]
    assert cheapest.name == "small"
    assert cheapest["dollars_per_month"] == pytest.approx(21 * 0.2 * 730)
    assert cheapest["dollars_per_million"] == pytest.approx(21 * 0.2 / (1000 * 3600) * 1e6)


def test_light_traffic_needs_one_instance_and_a_spare_one():
    assert set(plan(SERVICE, Traffic(1000), PRICES)["instances"]) == {2}


def test_plans_start_from_the_traffic_of_a_small_user():
    plans = cheapest_plans(SERVICE, Traffic(20_000), PRICES)
    assert plans.index.to_list() == ["10,000", "20,000", "1,000,000", "100,000,000", "1,000,000,000"]
    assert plans["instances"].to_list() == [2, 2, 2, *plans["instances"].to_list()[3:]]
    assert plans["instances"].is_monotonic_increasing
    last = plan(SERVICE, Traffic(1e9), PRICES).iloc[0]
    assert (plans["type"].iloc[-1], plans["dollars_per_month"].iloc[-1]) == (last.name, last["dollars_per_month"])


def test_without_a_spare_instance_light_traffic_needs_one():
    assert cheapest_plans(SERVICE, Traffic(10_000, spare_instances=0), PRICES)["instances"].iloc[0] == 1


def test_a_billion_a_day_is_planned_from_the_published_load_test():
    service = Service.of_load_test(json.loads((ROOT / "notebooks/results/load/sst2.json").read_text()))
    plans = plan(service, Traffic(1e9), read_prices(ROOT / "ops/config/prices.yaml"))
    assert (plans["utilisation"] <= 0.6).all()
    assert (plans["requests_per_second_each"] * plans["instances"]).to_list() == pytest.approx(
        [1e9 / 86_400 * 3] * len(plans)
    )
    assert plans["p99_ms"].between(1, 100).all()


@pytest.mark.parametrize("wrong", [{"requests_per_day": 0}, {"peak_over_mean": 0.5}, {"utilisation": 1}])
def test_invalid_traffic_is_rejected_by_name(wrong):
    with pytest.raises(ConfigurationError, match=rf"{next(iter(wrong))}=.* is out of bounds"):
        Traffic(**{"requests_per_day": 1e6} | wrong)


def test_the_note_has_date_source_and_check_of_the_prices():
    assert PRICES.note == "Prices of 2026-01-31: a test."
    assert "not verified" in read_prices(ROOT / "ops/config/prices.yaml").note


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("date: 2026-01-31\nsource: a\nchecked: true\ninstances: {a: {cores: 0, dollars_per_hour: 1}}", "cores=0"),
        ("date: 2026-01-31", "source is missing"),
        ("[", "cannot be read"),
    ],
)
def test_an_invalid_price_table_is_reported_in_one_sentence(tmp_path, text, sentence):
    (tmp_path / "prices.yaml").write_text(text)
    with pytest.raises(ConfigurationError, match=sentence):
        read_prices(tmp_path / "prices.yaml")


def test_a_server_under_load_is_compared_with_the_model(tiny_server):
    service, loads = planning.under_load(tiny_server.port, ["hello", "my boiler leaks"], [1.0, 1.2, 2.0], 0.3)
    assert service.rate_per_core > 10
    assert loads["utilisation"].to_list() == list(planning.UTILISATIONS)
    assert (loads["model_p50_ms"] <= loads["model_p99_ms"]).all()
    assert loads["requests_per_second"].is_monotonic_increasing


def test_the_plot_has_a_curve_for_each_number_of_cores_and_the_measured_points():
    measured = pd.DataFrame({"utilisation": [0.3], "cores": [2], "p99_ms": [12.0]})
    figure = plots.plot_waiting(planning.curves(SERVICE, (1, 4)), measured)
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels == ["Erlang C, cores: 1", "Erlang C, cores: 4", "measured, cores: 2"]


def test_a_notebook_shows_the_output_of_a_command_of_ops(tmp_path):
    (tmp_path / "ops").mkdir()
    (tmp_path / "ops/__init__.py").write_text("")
    (tmp_path / "ops/hello.py").write_text('import sys\nif __name__ == "__main__":\n    print(sys.argv[1:])\n')
    assert deployment.run_command("hello", tmp_path) == "[]\n"
    assert deployment.run_command("hello --yes", tmp_path) == "['--yes']\n"
    assert deployment.run_command("", tmp_path).endswith("set target to one of: hello.")


def test_a_command_that_is_a_package_can_be_chosen(tmp_path):
    package = tmp_path / "ops" / "gateway"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text("print('planned')")
    assert deployment.run_command("gateway", tmp_path) == "planned\n"


def test_an_unknown_target_and_a_failed_command_are_reported_in_one_sentence():
    with pytest.raises(UserError, match=r"no command 'imge' in ops; set target to one of: .*image"):
        deployment.run_command("imge", ROOT)
    with pytest.raises(UserError, match=r"ops\.image failed with status 1: error: none\.yaml cannot be read"):
        deployment.run_command("image --config none.yaml", ROOT)
