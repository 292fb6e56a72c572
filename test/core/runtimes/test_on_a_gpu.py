"""Backends on an NVIDIA GPU, for machines that have one: every backend finds there what PyTorch finds on the CPU."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from spda_sam_core.graph.check_picture import TOLERANCE, answer, check_inputs, difference
from spda_sam_core.runtimes.backends import BACKENDS, load_backend
from spda_sam_core.runtimes.runtime import Runtime
from spda_sam_core.runtimes.tensorrt.cuda import Driver, has_gpu
from spda_sam_core.runtimes.tensorrt.flavour import EngineError, installed_flavour
from spda_sam_core.runtimes.tensorrt.runtime import refuse_unknown

pytestmark = pytest.mark.skipif(not has_gpu(), reason="needs an NVIDIA GPU and its driver")

Inputs = Mapping[str, NDArray[Any]]


@pytest.fixture(scope="module")
def cache(tmp_path_factory, module_patch) -> None:
    module_patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def module_patch():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def on_cpu() -> Runtime:
    return load_backend("torch", "tiny", device="cpu")


@pytest.fixture(scope="module", params=[name for name, backend in BACKENDS.items() if "cuda" in backend.devices])
def on_gpu(request, cache) -> Runtime:
    if not BACKENDS[request.param].installed:
        pytest.skip(f"{request.param} is not installed")
    if request.param == "onnxruntime":
        onnxruntime = pytest.importorskip("onnxruntime")
        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            pytest.skip("this ONNX Runtime is for CPUs")
    if request.param == "tensorrt":
        try:
            refuse_unknown(installed_flavour(), Driver().gpu(0))
        except EngineError as error:
            pytest.skip(str(error))
    return load_backend(request.param, "tiny", device="cuda")


@pytest.fixture
def inputs(on_cpu) -> Inputs:
    return check_inputs(on_cpu.info.input_size)


def mirrored(inputs: Inputs) -> Inputs:
    """The same picture seen in a mirror."""
    image, *rest = inputs.values()
    flipped = (np.ascontiguousarray(image[:, :, ::-1]), *(x[..., ::-1].copy() if x.ndim == 4 else x for x in rest))
    return dict(zip(inputs, flipped, strict=True))


def test_each_picture_gets_its_own_answer(on_cpu, on_gpu, inputs) -> None:
    # three runs: the first may record or warm up what later ones launch, and memory is used again
    for picture in (inputs, mirrored(inputs), inputs):
        apart = difference(answer(on_cpu.run(**picture)), answer(on_gpu.run(**picture)))
        assert apart <= TOLERANCE[on_gpu.facts()["precision"]]


def test_an_answer_stays_when_the_next_picture_comes(on_gpu, inputs) -> None:
    first = on_gpu.run(**inputs)
    kept = first.mask_logits.copy()
    on_gpu.run(**mirrored(inputs))
    np.testing.assert_array_equal(first.mask_logits, kept)


def test_two_pictures_in_a_batch_are_found_as_one_by_one(on_gpu, inputs) -> None:
    other = mirrored(inputs)
    both = on_gpu.run(**{name: np.concatenate([inputs[name], other[name]]) for name in inputs})
    for i, single in enumerate((inputs, other)):
        one = type(both)(*(array[i : i + 1] for array in both))
        assert difference(answer(on_gpu.run(**single)), answer(one)) <= TOLERANCE["float16"]


def test_facts_name_the_gpu_as_device(on_gpu, inputs) -> None:
    on_gpu.run(**inputs)
    assert on_gpu.device == "cuda:0"
    facts = on_gpu.facts()
    assert facts["device"] == "cuda:0"
    if facts["backend"] == "torch":
        assert (facts["precision"], facts["cuda_graph"]) == ("float16", "launched")


def test_memory_goes_to_the_gpu_and_back() -> None:
    driver = Driver()
    context = driver.context(0)
    driver.enter(context)
    stream = driver.stream()
    data = np.random.default_rng(0).integers(0, 256, 100_000).astype(np.uint8)
    there, back, device = driver.pinned_memory(data.nbytes), driver.pinned_memory(data.nbytes), None
    try:
        device = driver.device_memory(data.nbytes)
        array(there, data.nbytes)[:] = data
        driver.to_device(device, there, data.nbytes, stream)
        driver.to_host(back, device, data.nbytes, stream)
        driver.wait(stream)
        np.testing.assert_array_equal(array(back, data.nbytes), data)

        # the same copies recorded, launched with other data
        driver.begin_capture(stream)
        driver.to_device(device, there, data.nbytes, stream)
        driver.to_host(back, device, data.nbytes, stream)
        graph = driver.end_capture(stream)
        array(there, data.nbytes)[:] = data[::-1]
        driver.launch(graph, stream)
        driver.wait(stream)
        np.testing.assert_array_equal(array(back, data.nbytes), data[::-1])
        driver.destroy(graph=graph, stream=stream)
    finally:
        for pinned in (there, back):
            driver.free(pinned=pinned)
        driver.free(device=device or 0)
        driver.leave(0)


def array(address: int, n_bytes: int) -> NDArray[np.uint8]:
    """Memory of the host."""
    return np.frombuffer((ctypes.c_uint8 * n_bytes).from_address(address), np.uint8)
