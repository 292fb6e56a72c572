"""What a GPU computes in float16, as far as a CPU can compute it too; the rest is in test_on_a_gpu.py."""

from __future__ import annotations

import torch
from torch import nn

from spda_sam_core.graph.check_picture import TOLERANCE, answer, check_inputs, difference
from spda_sam_core.runtimes.cuda_network import in_half, run_in_half
from spda_sam_core.runtimes.runtime import RawOutput
from spda_sam_core.runtimes.torch_runtime import TorchRuntime
from spda_sam_core.weights.checkpoint import load_checkpoint


def test_in_float16_the_shipped_network_finds_what_it_finds_in_float32() -> None:
    network, info = load_checkpoint("tiny")
    inputs = check_inputs(network.config.input_size)
    in_float32 = answer(TorchRuntime(network, checkpoint_sha256=info.sha256).run(**inputs))
    with torch.inference_mode():
        found = run_in_half(in_half(network), *(torch.from_numpy(array) for array in inputs.values()))
    assert {tensor.dtype for tensor in found} == {torch.float32}  # NumPy's users are promised that
    in_float16 = answer(RawOutput(*(tensor.numpy() for tensor in found)))
    assert 0 < difference(in_float32, in_float16) <= TOLERANCE["float16"]


def test_norms_keep_their_float32() -> None:
    network, _ = load_checkpoint("tiny")
    norms = [m for m in in_half(network).modules() if isinstance(m, nn.LayerNorm | nn.BatchNorm2d)]
    assert norms
    assert {norm.weight.dtype for norm in norms} == {torch.float32}
