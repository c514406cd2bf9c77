"""The private parts of torch that the ONNX export relies on."""

import torch

from tests.private_parts import require


def test_torch_has_a_switch_for_the_log_of_failed_exports():
    require("torch", torch._C, "_jit_set_onnx_log_enabled", "training/modeling/onnx.py")
