#!/usr/bin/env bash
# datasets.load_dataset("json") rewrites strings in a column that also holds numbers: "007" is read as the number 7.
#
# A column of JSON Lines with values of several types used to be refused by Arrow. It now gets the feature `Json`, whose
# values are parsed once more when they are read: a string that happens to be JSON becomes what it spells. Labels and
# identifiers such as "007", "null" or "[1, 2]" come back as 7, None and a list; other strings stay as they are. Nothing
# warns. A column in which all values are strings is not touched.
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
raise SystemExit(0 if (alone, mixed[:3]) == (strings, [7, None, [1, 2]]) else "datasets behaves otherwise now")
PYTHON
HF_HUB_OFFLINE=1 "$work/venv/bin/python" "$work/finding.py" "$work"
