"""The record of a training, `training.json` in the folder of a fine-tuned model. Reading it does not need torch."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bert_textclassification.errors import DataError
from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.settings.renamed import RENAMED

TRAINING_RECORD = "training.json"


def read_record(folder: str | Path) -> dict[str, Any]:
    """Return the record of the model in `folder`: `config`, `history` and `facts`.

    Raises:
        DataError: the folder has no finished model.
    """
    path = Path(folder) / TRAINING_RECORD
    if not path.exists():
        raise DataError(f"{folder} has no fine-tuned model; run notebook 02 first with the same run_dir.")
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record


def config_of(record: Mapping[str, Any]) -> TrainingConfig:
    """Return the training settings of a model."""
    return TrainingConfig.of({RENAMED.get(name, name): value for name, value in record["config"].items()})


def write_record(folder: Path, config: TrainingConfig, history: list[dict[str, float]], facts: dict[str, Any]) -> None:
    """Write the record of the model in `folder`."""
    record = {"config": config.model_dump(), "history": history, "facts": facts}
    (folder / TRAINING_RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
