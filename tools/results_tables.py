"""Tables of published runs: how good the models are, and how fast."""

from typing import Any

from bert_textclassification.training.display.tables import UNKNOWN, figure, markdown_table, percent, with_interval

_INSTRUCTIONS = {  # the first that a processor has names its kind
    "amx_int8": "AMX",
    "avx512_vnni": "AVX-512 VNNI",
    "avx_vnni": "AVX-VNNI",
    "avx512f": "AVX-512",
    "avx2": "AVX2",
    "i8mm": "Arm i8mm",
    "asimddp": "Arm dot product",
}


_HEADLINE = ("sst2", "sms_spam", "imdb_long")  # the first gives the sentence


def headline(results: dict[str, dict[str, Any]]) -> str:
    """Return a sentence with the result of the first data set of the README, and a table with three."""
    first = _headline_facts(results[_HEADLINE[0]])
    sentence = (
        f"Sentences of SST-2 take {first['served']:.2f} ms each on one thread of an {first['processor']}: "
        f"{first['speedup']:.1f} times as fast as PyTorch, with {first['served_accuracy']} % accuracy instead of "
        f"{first['fp32_accuracy']} %."
    )
    header = ["data", "processor", "accuracy, % (FP32 → served)", "PyTorch FP32, ms", "served, ms", "speed-up"]
    rows = []
    for name in _HEADLINE:
        facts = _headline_facts(results[name])
        accuracy = f"{facts['fp32_accuracy']} → {facts['served_accuracy']}"
        times = [f"{facts[which]:.2f}" for which in ("torch", "served")]
        rows.append([name, facts["processor"], accuracy, *times, f"{facts['speedup']:.1f}x"])
    return f"{sentence}\n\n{markdown_table(header, rows)}"


def _headline_facts(result: dict[str, Any]) -> dict[str, Any]:
    benchmark = result["quantization_benchmark"]
    served = benchmark["table"][benchmark["default_variant"]]
    return {
        "processor": processor_kind(benchmark["machine"]),
        "fp32_accuracy": percent(result["fine_tuning"]["test"]["accuracy"]["value"]),
        "served_accuracy": percent(benchmark["quality"]["metrics"]["test"]["accuracy"]["value"]),
        "torch": benchmark["table"]["torch fp32"]["p50_ms"],
        "served": served["p50_ms"],
        "speedup": served["speedup"],
    }


def quality_table(results: dict[str, dict[str, Any]]) -> str:
    """Return one row for each published run whose file has them: what is served on test beside TF-IDF and FP32."""
    header = [
        "data", "rows (train / test)", "TF-IDF accuracy, %", "FP32 accuracy, %", "served", "served accuracy, %",
        "served F1, %", "average precision, % (TF-IDF / FP32 / served)", "log loss (FP32 / served)", "threshold",
        "calibration error, % (FP32 / served before → after)", "warnings",
    ]  # fmt: skip
    rows = [
        _quality_row(name, result) for name, result in results.items() if "quality" in result["quantization_benchmark"]
    ]
    return markdown_table(header, rows)


def _quality_row(name: str, result: dict[str, Any]) -> list[str]:
    quality, fp32 = result["quantization_benchmark"]["quality"], result["quantization_benchmark"]["variants"]["fp32"]
    metrics, calibration = quality["metrics"]["test"], quality["calibration"]["test"]
    precisions = (quality["baseline"], result["fine_tuning"]["test"], metrics)
    return [
        name,
        _rows(result),
        with_interval(quality["baseline"]["accuracy"]),
        with_interval(result["fine_tuning"]["test"]["accuracy"]),
        result["quantization_benchmark"]["default_variant"],
        with_interval(metrics["accuracy"]),
        with_interval(metrics["f1"]),
        " / ".join(percent(one["average_precision"]["value"]) for one in precisions),
        f"{figure(fp32, 'log_loss')} / {calibration['log_loss_after']:.4f}",
        f"{quality['decision']['threshold']:.2f}",
        f"{figure(fp32, 'calibration_error')} / {percent(calibration['error_before'])} → "
        f"{percent(calibration['error_after'])}",
        str(len(quality["warnings"])),
    ]


def seed_variance_table(results: dict[str, dict[str, Any]]) -> str:
    """Return one row for each published run with several seeds: the mean over them, and how far luck goes."""
    header = ["data", "seeds", "validation, % (mean)", "test, % (mean)", "test of each seed, %"]
    return markdown_table(
        header,
        [
            _luck_row(name, result["fine_tuning"]["facts"])
            for name, result in results.items()
            if "seeds" in result["fine_tuning"]["facts"]
        ],
    )


def _luck_row(name: str, facts: dict[str, Any]) -> list[str]:
    return [
        name,
        str(len(facts["accuracies"])),
        *(with_interval(facts["seeds"][f"{split}_accuracy"]) for split in ("validation", "test")),
        ", ".join(percent(one["test"]) for one in facts["accuracies"]),
    ]


def long_texts_table(results: dict[str, dict[str, Any]]) -> str:
    """Return one row for each published run with test texts of more tokens than the model reads."""
    header = [
        "data", "processor", "tokens read", "longer test texts", "beginning, %", "windows, %", "beginning, ms",
        "windows, ms", "",
    ]  # fmt: skip
    return markdown_table(
        header,
        [
            _long_texts_row(name, result["quantization_benchmark"])
            for name, result in results.items()
            if result["quantization_benchmark"].get("long_texts")
        ],
    )


def _long_texts_row(name: str, result: dict[str, Any]) -> list[str]:
    found = result["long_texts"]
    return [
        name,
        processor_kind(result["machine"]),
        str(found["max_length"]),
        f"{found['rows']:,} ({found['share']:.0%}), {found['windows']:.1f} windows each",
        *(with_interval(found["accuracy"][way]) for way in ("truncate", "windows")),
        *(f"{found['milliseconds'][way]:.1f}" for way in ("truncate", "windows")),
        found["comparison"]["sentence"],
    ]


def speed_table(results: dict[str, dict[str, Any]]) -> str:
    """Return one row for each published run: what is served beside torch."""
    header = [
        "data", "rows (train / test)", "processor", "served", "FP32, %", "served, %", "agreement, %",
        "torch FP32 p50, ms", "served p50, ms", "speed-up (min–max)", "HTTP p50, ms",
    ]  # fmt: skip
    return markdown_table(header, [_speed_row(name, result) for name, result in results.items()])


def _speed_row(name: str, result: dict[str, Any]) -> list[str]:
    table, name_of_served = (result["quantization_benchmark"][key] for key in ("table", "default_variant"))
    fp32, served = table["torch fp32"], table[name_of_served]
    return [
        name,
        _rows(result),
        processor_kind(result["quantization_benchmark"]["machine"]),
        name_of_served,
        percent(result["fine_tuning"]["test"]["accuracy"]["value"]),
        percent(served["accuracy"]),
        percent(served["agreement"]),
        f"{fp32['p50_ms']:.1f}",
        f"{served['p50_ms']:.2f}",
        f"{served['speedup']:.2f}x ({served['speedup_low']:.2f}–{served['speedup_high']:.2f})",
        f"{result['deployment']['latency_ms']['p50']:.2f}",
    ]


def processor_kind(machine: dict[str, Any]) -> str:
    """Return the processor that figures were measured on, with the instructions that decide how fast int8 is."""
    kinds = [kind for name, kind in _INSTRUCTIONS.items() if name in machine.get("instructions", [])]
    return " ".join([machine.get("processor", UNKNOWN), *(f"({kind})" for kind in kinds[:1])])


def _rows(result: dict[str, Any]) -> str:
    balance = result["exploration"]["balance"]
    return f"{balance['train']['rows']:,} / {balance['test']['rows']:,}"
