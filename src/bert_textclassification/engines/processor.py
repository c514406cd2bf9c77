"""The kind of this processor: the instruction set on which the speed of int8 products depends, and their rounding may.

Figures that were measured on one kind do not hold for another.
"""

import platform
from functools import cache
from pathlib import Path

from bert_textclassification.artifact.manifest import Processor

# Best first: what /proc/cpuinfo must list for a processor to be of each kind.
KINDS = {
    "amx_int8": {"amx_int8", "avx512_vnni"},
    "avx512_vnni": {"avx512_vnni", "avx512bw", "avx512dq", "avx512vl"},
    "avx_vnni": {"avx_vnni", "avx2", "fma"},
    "avx2": {"avx2", "fma"},
    "i8mm": {"i8mm", "asimd"},
    "dotprod": {"asimddp", "asimd"},
    "neon": {"asimd"},
}


@cache
def kind(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return the kind of this processor: one of KINDS, or its architecture where the system lists no features."""
    return kind_with(_features(cpuinfo)) or platform.machine()


def other_kind(made_on: Processor | None) -> str | None:
    """Return the kind of the processor of an artifact's figures where it is another one than this; None if not said."""
    return made_on.kind if made_on is not None and made_on.kind not in ("", kind()) else None


def kind_with(features: set[str]) -> str | None:
    """Return the best kind that a processor with these features is of; None where it is of none."""
    return next((name for name, needed in KINDS.items() if needed <= features), None)


def _features(cpuinfo: Path) -> set[str]:
    """Return what Linux calls flags (x86) or Features (ARM) of the first core."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return set()
    return next((set(line.split()) for line in lines if line.lower().startswith(("flags", "features"))), set())
