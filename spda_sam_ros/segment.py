"""The program `segment`: hears SIGINT and SIGTERM from its first line on, runs the node, ends in order.

It imports nothing of weight before it listens.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_TURN_S = 0.1
"""So long may it take until a signal is looked for."""
_PATIENCE_S = 5.0
"""So long after a signal the process ends whatever holds it: a call into a driver that never returns, for instance."""


class Stop:
    """Whether the process was asked to end.

    Attributes:
        requested: whether a signal came.
        at_once: there is nothing yet that would have to be ended in order.
    """

    def __init__(self) -> None:
        self.requested = False
        self.at_once = True
        self._ended = threading.Event()
        # written to by Python as a signal comes, also while the main thread is in a library and no handler runs
        self._reading, self._writing = os.pipe()
        self._last_resort = threading.Thread(target=self._end_whatever_holds_it, name="last resort", daemon=True)

    def listen(self) -> None:
        """Listen to signals; in the main thread."""
        os.set_blocking(self._writing, False)
        signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        for number in _SIGNALS:
            signal.signal(number, self._heard)
        self._last_resort.start()

    def end(self) -> None:
        """Listen no more: the process ends, and what comes now would kill the interpreter under way."""
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        signal.set_wakeup_fd(-1)
        self._ended.set()
        os.close(self._writing)
        self._last_resort.join()

    def _end_whatever_holds_it(self) -> None:
        if os.read(self._reading, 1) and not self._ended.wait(_PATIENCE_S):
            os.write(2, f"segment: could not end in order within {_PATIENCE_S:g} s, and ends as it is\n".encode())
            os._exit(0)

    def _heard(self, number: int, frame: Any) -> None:
        self.requested = True
        if self.at_once:
            os._exit(0)

    def __call__(self) -> bool:
        """Whether a signal came."""
        return self.requested


def main(arguments: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM.

    Returns:
        0, or 2 when it was started with parameters that it refuses.
    """
    stop = Stop()
    stop.listen()
    # here, because it takes seconds: a signal that comes meanwhile is heard
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    from spda_sam_ros import node

    stop.at_once = False
    # our own handlers, so that the model is freed before the context goes
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    try:
        code = node.run(stop, turn_s=_TURN_S)
    finally:
        rclpy.try_shutdown()
        stop.end()
    if any(thread.daemon for thread in threading.enumerate()):
        # a thread in the middle of a frame or of loading would crash an interpreter that ends under it
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


if __name__ == "__main__":
    sys.exit(main())
