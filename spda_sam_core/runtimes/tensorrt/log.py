"""What TensorRT says. Its calls fail by None, False or -1; why is only in the log, which goes to stdout by default."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from spda_sam_core.runtimes.tensorrt.flavour import EngineError, Flavour

_log = logging.getLogger(__name__)
_KEPT = 8
"""Lines of an error; the first ones tell the cause."""


class LogLines(Protocol):
    """A logger of TensorRT's that keeps errors."""

    errors: list[str]


_loggers: dict[str, LogLines] = {}
_lock = threading.Lock()


def logger_of(flavour: Flavour) -> Any:
    """The logger of this process: TensorRT takes one only, and must find it alive as long as anything of its own is."""
    with _lock:
        if flavour.name not in _loggers:
            _loggers[flavour.name] = _make(flavour)
        return _loggers[flavour.name]


def _make(flavour: Flavour) -> LogLines:
    trt = flavour.module

    class Logger(trt.ILogger):  # type: ignore[misc, name-defined]  # the module has no types
        """Hands lines to Python's logging; called from several threads."""

        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                self.errors.append(message)
                _log.error("%s: %s", flavour.name, message)
            elif severity == trt.ILogger.Severity.WARNING:
                _log.warning("%s: %s", flavour.name, message)
            else:
                _log.debug("%s: %s", flavour.name, message)

    made: LogLines = Logger()
    return made


@contextmanager
def errors_become_exceptions(flavour: Flavour, what: str) -> Iterator[None]:
    """Let what TensorRT says in the block be the text of an `EngineError` that leaves it.

    Args:
        flavour: whose logger listens.
        what: is tried, such as "building an engine of x.onnx".

    Raises:
        EngineError: in place of one of the same class, whose text may be empty, with the log's.
    """
    logger = logger_of(flavour)
    before = len(logger.errors)
    try:
        yield
    except EngineError as error:
        kind = type(error)
        said = "; ".join(" ".join(line.split()) for line in logger.errors[before:][:_KEPT])
        raise kind(
            ": ".join(part for part in (f"{flavour.name} {flavour.version}: {what} failed", str(error), said) if part)
        ) from error
