#!/usr/bin/env bash
# torch.onnx.export(dynamo=False) of a wrapper leaves the wrapped model in training mode.
#
# To export only one output of a model, you wrap it in a small module. A new module is in training mode, whatever the
# mode of its submodules. The tracing exporter switches the whole tree to eval mode and then "restores" it with
# wrapper.train(wrapper.training), which copies the wrapper's flag to every submodule. A model that was in eval mode
# before has active dropout afterwards: its logits differ from call to call, without a warning.
# The dynamo exporter does not change the flags.
#
# Seen with torch 2.13.0 and onnx 1.23.2 on Python 3.11. Remedy: wrapper.train(model.training) before the export.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 onnx==1.23.2 numpy==2.4.6
cat >"$work/finding.py" <<'PYTHON'
import io
import warnings

import onnx
import torch

warnings.simplefilter("ignore")  # the tracing exporter is deprecated


class FirstOutput(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, numbers):
        return self.model(numbers)


print("torch", torch.__version__.partition("+")[0], "onnx", onnx.__version__)
model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Dropout(0.5)).eval()
torch.onnx.export(model, (torch.ones(1, 4),), io.BytesIO(), dynamo=False)
bare = model.training
torch.onnx.export(FirstOutput(model), (torch.ones(1, 4),), io.BytesIO(), dynamo=False)
wrapped, dropout = model.training, model[1].training
print("training mode after exporting the model itself:", bare)
print("training mode after exporting it in a wrapper: model", wrapped, "dropout", dropout)
raise SystemExit(0 if (bare, wrapped, dropout) == (False, True, True) else "the behaviour of torch has changed")
PYTHON
"$work/venv/bin/python" "$work/finding.py"
