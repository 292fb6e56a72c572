"""What the core has to say, in the node's log: exporting, measuring backends, building an engine take their time."""

from __future__ import annotations

import logging
from collections.abc import Callable

from rclpy.impl.rcutils_logger import RcutilsLogger

CORE = "spda_sam_core"


class _ToRos(logging.Handler):
    """Hands records of Python's logging to a logger of ROS."""

    def __init__(self, logger: RcutilsLogger, heard: Callable[[str], None]) -> None:
        super().__init__(logging.INFO)
        self._logger = logger
        self._heard = heard

    def emit(self, record: logging.LogRecord) -> None:
        """Log a record at its severity; each severity from a line of its own, as rclpy demands."""
        text = record.getMessage()
        self._heard(text)
        if record.levelno >= logging.ERROR:
            self._logger.error(text)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(text)
        else:
            self._logger.info(text)


def log_core_in(logger: RcutilsLogger, heard: Callable[[str], None]) -> None:
    """Send what the core logs, from INFO up, to this logger, and to no other one of an earlier call.

    Args:
        logger: the node's.
        heard: is given each text as well, in the thread that logs it.
    """
    core = logging.getLogger(CORE)
    core.handlers = [handler for handler in core.handlers if not isinstance(handler, _ToRos)]
    core.addHandler(_ToRos(logger, heard))
    core.setLevel(logging.INFO)
    core.propagate = False  # its warnings would be printed twice
