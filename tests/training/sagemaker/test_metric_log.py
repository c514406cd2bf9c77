"""The metric lines of a job: the regular expressions given to the platform parse every line."""

import re

from bert_textclassification.training.sagemaker.metric_log import NAMES, metric_definitions, metric_line, print_metrics


def read(text):
    """Return the values of each metric that SageMaker would read, in order."""
    return {one["Name"]: [float(value) for value in re.findall(one["Regex"], text)] for one in metric_definitions()}


def test_every_line_is_read_as_itself_and_nothing_else():
    for number, name in enumerate(NAMES):
        found = read(f"fine-tuning: 3%| 12/340\n{metric_line(name, number / 7)}\n")
        assert {other: values for other, values in found.items() if values} == {name: [round(number / 7, 6)]}


def test_small_and_negative_numbers_are_read():
    assert read(metric_line("train_loss", -0.0000012))["train_loss"] == [-0.000001]


def test_the_metrics_of_the_artifact_are_printed(tiny_artifact, capsys):
    print_metrics(tiny_artifact.manifest)
    found = read(capsys.readouterr().out)
    for split in ("validation", "test"):
        for name, metric in tiny_artifact.manifest.metrics[split].items():
            assert found[f"{split}_{name}"] == [round(metric["value"], 6)]


def test_names_are_what_the_platform_admits():
    assert all(re.fullmatch(r".{1,255}", one["Name"]) and len(one["Regex"]) <= 500 for one in metric_definitions())
    assert len(NAMES) <= 40  # definitions that a job may have
