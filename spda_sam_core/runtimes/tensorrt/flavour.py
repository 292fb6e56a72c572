"""Which TensorRT is installed. The module is a parameter of everything that uses it."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any, NamedTuple

from spda_sam_core.runtimes.runtime import BackendError

MODULES = ("tensorrt", "tensorrt_rtx")
"""JetPack and NVIDIA's containers have the first; the second is for workstations with RTX cards, and is on PyPI."""
OLDEST = (10, 3)
"""TensorRT of JetPack 6.1 and 6.2, the first with strongly typed networks that is tested by others."""


class EngineError(BackendError):
    """An engine that cannot be built, loaded or run; the message says why, and what to do."""


class UnusableEngine(EngineError):
    """An engine that does not load, or finds something else than PyTorch: another one has to be built."""


class Flavour(NamedTuple):
    """An installed TensorRT.

    Attributes:
        name: of the module.
        version: full, such as "10.3.0".
        module: itself.
    """

    name: str
    version: str
    module: Any

    @property
    def version_bytes(self) -> bytes:
        """Major, minor, patch and build, as they stand in an engine; fewer where the version has fewer."""
        return bytes(int(part) % 256 for part in self.version.split(".")[:4] if part.isdigit())


def is_installed() -> bool:
    """Whether one of the modules is there; it may still fail to load."""
    return any(importlib.util.find_spec(name) is not None for name in MODULES)


def installed_flavour() -> Flavour:
    """The first of `MODULES` that loads.

    Raises:
        EngineError: none does, with what each said.
    """
    said = []
    for name in MODULES:
        try:
            module = importlib.import_module(name)
        except (ImportError, OSError) as error:  # a missing library of its own
            said.append(f"{name}: {error}")
            continue
        # the package tensorrt-stubs makes `import tensorrt` succeed with nothing in it
        if not hasattr(module, "Builder"):
            said.append(f"{name}: has no Builder, it is not TensorRT: pip uninstall tensorrt-stubs")
            continue
        version = str(module.__version__)
        if name == "tensorrt" and tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
            said.append(f"{name}: {version} is older than {'.'.join(map(str, OLDEST))}, which JetPack 6.1 has")
            continue
        return Flavour(name, version, module)
    raise EngineError(
        f"no usable TensorRT ({'; '.join(said)}): a Jetson has it with JetPack, in a venv with --system-site-packages; "
        "a workstation with an RTX card gets it by pip install tensorrt-rtx-cu13"
    )
