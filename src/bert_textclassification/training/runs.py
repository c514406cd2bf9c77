"""Where the stages of one run leave what they made: `runs/<name>/`.

fine_tuned/     the fine-tuned torch model (02)
model/          the artifact to serve (03), and model.tar.gz beside it (04)
checkpoints/    what an interrupted fine-tuning goes on from
search/         the study of a search, its table, pictures and best settings
figures/        what the notebooks plot
results.json    one section a stage: every number that is published
"""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure  # the pipeline draws nothing and need not wait for it


class RunFolder:
    """The folder of one run; made when it is not there."""

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
        """Write the section `stage` of results.json; the other sections stay."""
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
        """Write `figure` as PNG and return its path; without a figure, remove the one of an earlier run."""
        path = self.figures / f"{name}.png"
        if figure is None:
            path.unlink(missing_ok=True)
        else:
            figure.savefig(path, dpi=110, bbox_inches="tight")
        return path

    def save_page(self, page: str, name: str) -> Path:
        """Write HTML beside the figures and return its path."""
        path = self.figures / f"{name}.html"
        path.write_text(f'<meta charset="utf-8">{page}', encoding="utf-8")
        return path
