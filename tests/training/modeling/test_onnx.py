"""The private parts of torch that the ONNX export relies on."""

import torch

from tests.private_parts import require


def test_torch_can_be_told_not_to_print_the_graph_of_a_failed_export():
    require("torch", torch._C, "_jit_set_onnx_log_enabled", "training/modeling/onnx.py")
