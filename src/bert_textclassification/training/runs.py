"""The folder of a run, `runs/<name>/`, with the outputs of its stages (numbers: notebooks).

fine_tuned/     the fine-tuned torch model (02)
model/          the artifact to serve (03); model.tar.gz is its archive (04)
checkpoints/    checkpoints to resume an interrupted fine-tuning
search/         the study of a search, its table, figures and best settings
figures/        the figures of the notebooks
results.json    all published numbers, one section per stage
"""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure  # the pipeline draws nothing: not importing it saves time


class RunFolder:
    """The folder of one run; created if it does not exist."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).resolve()
        self.fine_tuned = self.root / "fine_tuned"
        self.model = self.root / "model"
        self.archive = self.root / "model.tar.gz"
        self.checkpoints = self.root / "checkpoints"
        self.search = self.root / "search"
        self.figures = self.root / "figures"
        self._results = self.root / "results.json"
        self.figures.mkdir(parents=True, exist_ok=True)

    def forget_checkpoints(self) -> None:
        """Delete the checkpoints."""
        shutil.rmtree(self.checkpoints, ignore_errors=True)

    def record(self, stage: str, content: dict[str, Any]) -> None:
        """Write the section `stage` of results.json and keep the other sections."""
        partial = self._results.with_name("results.json.partial")
        partial.write_text(json.dumps(self.results() | {stage: content}, indent=2) + "\n", encoding="utf-8")
        partial.replace(self._results)

    def results(self) -> dict[str, Any]:
        """Return every section recorded so far."""
        if not self._results.exists():
            return {}
        content: dict[str, Any] = json.loads(self._results.read_text(encoding="utf-8"))
        return content

    def save_figure(self, figure: "Figure | None", name: str) -> Path:
        """Write `figure` as PNG and return its path; without a figure, delete that of an earlier run."""
        path = self.figures / f"{name}.png"
        if figure is None:
            path.unlink(missing_ok=True)
        else:
            figure.savefig(path, dpi=110, bbox_inches="tight")
        return path

    def save_page(self, page: str, name: str) -> Path:
        """Write an HTML page to the folder of the figures and return its path."""
        path = self.figures / f"{name}.html"
        path.write_text(f'<meta charset="utf-8">{page}', encoding="utf-8")
        return path
