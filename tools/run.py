"""Run a command of the package with the SETTINGS given to make.

    python tools/run.py 'threshold_objective=precision>=0.95 "positive_label=needs an answer"' COMMAND [ARGUMENT ...]

The settings are split into words as a shell does, quotes included, but nothing in them is expanded or redirected.
"""

import os
import shlex
import sys


def main(settings: str, *arguments: str) -> int:
    """Replace this process by the command; return 1 if the settings cannot be split."""
    try:
        words = shlex.split(settings)
    except ValueError as problem:
        print(f"error: SETTINGS={settings}: {problem}; close every quote.", file=sys.stderr)
        return 1
    os.execv(sys.executable, [sys.executable, "-m", "bert_textclassification", *arguments, *words])  # noqa: S606 - this is the point


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
