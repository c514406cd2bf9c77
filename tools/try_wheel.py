"""Check an installed wheel: the command line runs, and the compiled kernels work.

python tools/try_wheel.py    # with the Python that the wheel was installed for
"""

import subprocess
import sys

from bert_textclassification import __version__
from bert_textclassification.engines.native import engine


def main() -> int:
    """Print the version and the kernels; return the exit status."""
    kernels = engine.instructions()
    if "portable" not in kernels:
        print("error: the wheel has no kernels.", file=sys.stderr)
        return 1
    engine.measure_peak(0.05)
    command = [sys.executable, "-m", "bert_textclassification", "--version"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    print(f"{shown}; kernels for {', '.join(kernels)}")
    return 0 if __version__ in shown else 1


if __name__ == "__main__":
    sys.exit(main())
