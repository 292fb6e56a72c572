"""Pictures of one camera, drawn in a thread of their own: masks do not wait for them."""

from __future__ import annotations

import threading
import time

from spda_sam_core.runtimes.memory import give_back_freed_memory
from spda_sam_ros.camera import Camera
from spda_sam_ros.parameters import Settings
from spda_sam_ros.pictures import Pictures
from spda_sam_ros.segmenter import Segmented
from spda_sam_ros.transitions import describe, traceback_of
from spda_sam_ros.worker import Mailbox, Steps, Worker

_Job = tuple[Segmented, bool]
"""A result, and whether its overlay may be drawn."""


class Drawing:
    """Draws the newest result that it is given, in a worker's turn.

    Args:
        camera: is told of what goes wrong, and counts results that were not drawn because a newer one came.
        pictures: where they go.
        worker: in whose thread; not yet started.
    """

    def __init__(self, camera: Camera, pictures: Pictures, worker: Worker) -> None:
        self._camera = camera
        self._pictures = pictures
        self._publishing = threading.Lock()
        self._given_up = False
        self._mailbox: Mailbox[_Job] = worker.mailbox(
            self._draw,
            failed=self._failed,
            dropped=lambda reason: camera.statistics.count_event("not_drawn"),
            minimum_interval_s=lambda: 0.0,
        )

    def offer(self, result: Segmented, settings: Settings) -> None:
        """Draw a result where someone wants to see it. Never blocks."""
        if self._pictures.wanted(overlay=settings.overlay):
            self._mailbox.submit((result, settings.overlay))

    def give_up(self, timeout_s: float) -> None:
        """Publish nothing any more of what is being drawn.

        Args:
            timeout_s: for what is being published this very moment.
        """
        free = self._publishing.acquire(timeout=timeout_s)
        self._given_up = True
        if free:
            self._publishing.release()

    # In the worker's thread

    def _draw(self, job: _Job) -> Steps:
        result, overlay = job
        large = result.large
        began_s = time.perf_counter()
        ready = self._pictures.draw(result, overlay=overlay)
        with self._publishing:
            if not self._given_up:
                for send in ready:
                    send()
        self._camera.statistics.measure({"draw_ms": (time.perf_counter() - began_s) * 1e3})
        del job, result, ready
        if large:
            give_back_freed_memory()
        yield from ()

    def _failed(self, error: Exception) -> None:
        if not self._given_up:
            self._camera.report("pictures", f"pictures failed: {describe(error)}", traceback_of(error))
