"""The kind of this processor: its best instruction set for int8 products, which determines speed and rounding.

Measurements on one kind do not apply to another.
"""

import platform
from functools import cache
from pathlib import Path

from bert_textclassification.artifact.manifest import Processor

# Best kind first, with the features that /proc/cpuinfo must list for it.
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
    """Return the kind of this processor: one of KINDS, or its architecture if the system lists no features."""
    return kind_with(_features(cpuinfo)) or platform.machine()


def other_kind(made_on: Processor | None) -> str | None:
    """Return the kind of the processor in an artifact's manifest if it differs from this one; None if it is unknown."""
    return made_on.kind if made_on is not None and made_on.kind not in ("", kind()) else None


def kind_with(features: set[str]) -> str | None:
    """Return the best kind for a processor with these features; None without a match."""
    return next((name for name, needed in KINDS.items() if needed <= features), None)


def _features(cpuinfo: Path) -> set[str]:
    """Return the first core's flags (x86) or Features (ARM) on Linux."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return set()
    return next((set(line.split()) for line in lines if line.lower().startswith(("flags", "features"))), set())
