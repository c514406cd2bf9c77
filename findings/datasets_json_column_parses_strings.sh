#!/usr/bin/env bash
# datasets.load_dataset("json") rewrites strings in a column that also holds numbers: "007" is read as the number 7.
#
# Arrow used to reject a column of JSON Lines with values of several types. Such a column now gets the feature `Json`,
# whose values are parsed a second time when they are read: a string of valid JSON becomes the value that it encodes.
# Labels and identifiers such as "007", "null" or "[1, 2]" are read as 7, None and a list; other strings do not change.
# There is no warning. A column that has strings only is read correctly.
#
# Seen with datasets 5.2.0 on Python 3.11. Remedy: read JSON Lines with json, or write every value as a string.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check datasets==5.2.0
cat >"$work/finding.py" <<'PYTHON'
import json
import sys
from pathlib import Path

import datasets

print("datasets", datasets.__version__)
folder = Path(sys.argv[1])


def read(values):
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps({"label": value}) + "\n" for value in values))
    loaded = datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=str(folder / str(len(values))))
    print(loaded.features["label"], "written", values, "read", list(loaded["label"]))
    return list(loaded["label"])


strings = ["007", "null", "[1, 2]", "spam"]
alone, mixed = read(strings), read([*strings, 1])
raise SystemExit(0 if (alone, mixed[:3]) == (strings, [7, None, [1, 2]]) else "the behaviour of datasets has changed")
PYTHON
HF_HUB_OFFLINE=1 "$work/venv/bin/python" "$work/finding.py" "$work"
