"""Build the documentation as a web site, with the four notebooks and their outputs.

    python -m tools.docs_site                  # into build/docs, with the outputs of runs/demo where that run exists
    python -m tools.docs_site --run mine       # with the outputs of runs/mine
    python -m tools.docs_site --links          # check external links instead; needs the network

Warnings are errors. Nothing is executed: a notebook that the run lacks is shown without outputs.
"""

import argparse
import shutil
import sys
from pathlib import Path

from bert_textclassification.errors import UserError

NOTEBOOKS = Path("notebooks")
PAGES = Path("docs/notebooks")  # where Sphinx finds them; git ignores it
DEFAULT_RUN = "demo"


def main(arguments: list[str]) -> int:
    """Build the site, or check its external links; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.docs_site", description="Build the documentation site.")
    parser.add_argument("--run", help="the run whose executed notebooks are shown (default: demo, where it exists)")
    parser.add_argument("--output", type=Path, default=Path("build/docs"), help="folder of the site")
    parser.add_argument("--links", action="store_true", help="check external links instead of building pages")
    options = parser.parse_args(arguments)
    try:
        print(copy_notebooks(options.run), file=sys.stderr)
    except UserError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    return build("linkcheck" if options.links else "html", options.output)


def copy_notebooks(run: str | None) -> str:
    """Copy the four notebooks to PAGES, where Sphinx reads them; return a sentence on the run whose outputs they show.

    Args:
        run: name of a run in `runs/`; None for the demo, or for notebooks without outputs if there is no demo.

    Raises:
        UserError: the given run has no executed notebook.
    """
    executed = Path("runs") / (run or DEFAULT_RUN)
    sources = sorted(NOTEBOOKS.glob("*.ipynb"))
    shown = {path.name: executed / path.name for path in sources if (executed / path.name).exists()}
    if run and not shown:
        raise UserError(f"{executed} has no executed notebooks; run make notebooks NAME={run} first.")
    shutil.rmtree(PAGES, ignore_errors=True)
    PAGES.mkdir()
    for path in sources:
        shutil.copy2(shown.get(path.name, path), PAGES)
    if not shown:
        return f"{executed} has no executed notebooks, so they are shown without outputs; run make demo to create them."
    missing = [path.stem for path in sources if path.name not in shown]
    return f"The notebooks show the outputs of {executed}{', except ' + ', '.join(missing) if missing else ''}."


def build(builder: str, output: Path) -> int:
    """Run Sphinx with warnings as errors; return its exit status."""
    from sphinx.cmd.build import main as sphinx_build  # of the extra `docs`

    cache = output.parent / f"{output.name}-cache"
    flags = ["--builder", builder, "--fail-on-warning", "--keep-going", "--nitpicky", "--quiet"]
    status: int = sphinx_build([*flags, "--doctree-dir", str(cache), "docs", str(output)])
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
