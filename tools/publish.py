"""Publish a run: copy its results and figures to `notebooks/results/`, and write the generated documentation.

python -m tools.publish sst2    # runs/sst2 -> notebooks/results, docs/benchmarks.md
"""

import json
import shutil
import sys
from pathlib import Path

from bert_textclassification.errors import UserError
from bert_textclassification.training.runs import RunFolder
from bert_textclassification.training.settings.paths import RESULTS
from tools import documentation

_PUBLISHED_FIGURES = ("accuracy_latency", "history")


def publish(name: str) -> None:
    """Copy the results and figures of `runs/<name>` to `notebooks/results/` and write the generated documentation."""
    run = RunFolder(Path("runs") / name)
    missing = {"exploration", "fine_tuning", "quantization_benchmark", "deployment"} - set(run.results())
    if missing:
        raise UserError(f"runs/{name} lacks the stages {', '.join(sorted(missing))}; run all four notebooks first.")
    RESULTS.mkdir(parents=True, exist_ok=True)
    results = run.results()
    del results["deployment"]["example"]  # a text of the data set, which may not be ours to publish
    (RESULTS / f"{name}.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    for picture in _PUBLISHED_FIGURES:
        shutil.copyfile(run.figures / f"{picture}.png", RESULTS / f"{name}_{picture}.png")
    documentation.update()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tools.publish NAME")
    publish(sys.argv[1])
