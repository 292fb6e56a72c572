"""Which TensorRT is taken, and what is said where none can be."""

from __future__ import annotations

import pytest

from spda_sam_core.runtimes.tensorrt import flavour
from spda_sam_core.runtimes.tensorrt.flavour import EngineError, Flavour, installed_flavour


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """Writes modules that stand in for TensorRT's."""
    monkeypatch.syspath_prepend(tmp_path)
    names = ("fake_trt", "fake_trt_rtx")
    monkeypatch.setattr(flavour, "MODULES", names)

    def write(name: str, text: str) -> None:
        (tmp_path / f"{name}.py").write_text(text)

    yield write
    for name in names:
        flavour.importlib.sys.modules.pop(name, None)  # type: ignore[attr-defined]


def test_the_first_that_works_is_taken_and_stubs_are_not_tensorrt(modules) -> None:
    modules("fake_trt", "")  # as tensorrt-stubs leaves it
    modules("fake_trt_rtx", "__version__ = '1.7.1.116'\nclass Builder: pass\n")
    found = installed_flavour()
    assert (found.name, found.version) == ("fake_trt_rtx", "1.7.1.116")
    assert found.version_bytes == bytes((1, 7, 1, 116))
    assert Flavour("tensorrt", "10.3.0", None).version_bytes == bytes((10, 3, 0))


def test_where_none_works_each_says_why_and_where_to_get_one(modules) -> None:
    modules("fake_trt", "")
    modules("fake_trt_rtx", "raise ImportError('libnvinfer is missing')")
    with pytest.raises(EngineError) as error:
        installed_flavour()
    for part in (
        "fake_trt: has no Builder",
        "pip uninstall tensorrt-stubs",
        "libnvinfer is missing",
        "with JetPack",
        "rtx-cu13",
    ):
        assert part in str(error.value)


def test_one_that_is_too_old_is_named(modules, monkeypatch) -> None:
    modules("tensorrt", "__version__ = '8.6.1'\nclass Builder: pass\n")
    monkeypatch.setattr(flavour, "MODULES", ("tensorrt",))
    try:
        with pytest.raises(EngineError, match=r"tensorrt: 8\.6\.1 is older than 10\.3, which JetPack 6\.1 has"):
            installed_flavour()
    finally:
        flavour.importlib.sys.modules.pop("tensorrt", None)  # type: ignore[attr-defined]
