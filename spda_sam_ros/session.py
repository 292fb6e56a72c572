"""From activation to deactivation: the cameras, the one thread that segments for all of them, and one that draws."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from rclpy.lifecycle import LifecycleNode

from spda_sam_core.spda_sam import SpdaSam
from spda_sam_ros.camera import Camera
from spda_sam_ros.camera_session import CameraSession
from spda_sam_ros.health import Activity
from spda_sam_ros.parameters import Settings
from spda_sam_ros.worker import Worker

_FINISH_S = 0.5
"""What a frame at hand gets at the end, so that a usual one is still published; and then its picture."""


class Session:
    """Segments from construction until `close`.

    Args:
        node: the node that owns the subscriptions.
        model: what segments.
        cameras: whose images; their publishers are there.
        settings: gives the settings as they are; asked once per frame.
        enabled: tells whether images are wanted at the moment.
        after: the session before, whose last frame may not be done yet: two at once would meet in the model.

    Raises:
        ValueError: a subscription cannot be made; nothing is left then.
    """

    def __init__(
        self,
        node: LifecycleNode,
        model: SpdaSam,
        cameras: Sequence[Camera],
        *,
        settings: Callable[[], Settings],
        enabled: Callable[[], bool],
        after: Session | None,
    ) -> None:
        self._node = node
        self._worker: Worker = Worker("segmentation", after=None if after is None else after._worker)
        self._draughtsman = Worker("drawing")
        self._of: dict[Camera, CameraSession] = {}
        with ExitStack() as made:
            for camera in cameras:
                session = CameraSession(
                    node, camera, model, self._worker, self._draughtsman, settings=settings, enabled=enabled
                )
                self._of[camera] = session
                made.callback(session.close)
            made.pop_all()
        self._worker.start()
        self._draughtsman.start()

    @property
    def busy_s(self) -> float:
        """Seconds for which the frame at hand has been at hand, 0 where there is none; still counted once closed."""
        return self._worker.busy_s

    def activity(self, camera: Camera, unanswered_s: float) -> Activity:
        """Return what one camera's session sees.

        Args:
            camera: which.
            unanswered_s: for how long its images have come in without a result.
        """
        return self._of[camera].activity(unanswered_s)

    def segment_newest(self) -> str:
        """Segment the newest image of each camera that has one, whether images are wanted or not.

        Returns:
            What is being done, a sentence for each camera.

        Raises:
            ValueError: no image of any camera came since activation.
        """
        done, refused = [], []
        for session in self._of.values():
            try:
                done.append(session.segment_newest())
            except ValueError as error:
                refused.append(str(error))
        if not done:
            raise ValueError("; ".join(refused))
        return "; ".join(done + refused)

    def close(self) -> bool:
        """Unsubscribe, and finish the frame at hand.

        Returns:
            Whether it is finished; where it is not done soon it is given up, and nothing of it is heard any more.
        """
        try:
            with ExitStack() as closing:  # all of them, whatever one raises
                for session in self._of.values():
                    closing.callback(session.close)
        finally:
            finished = self._finish()
        return finished

    def _finish(self) -> bool:
        log = self._node.get_logger()
        finished = self._worker.stop(_FINISH_S)
        if not finished:
            for session in self._of.values():
                session.give_up(_FINISH_S)
            log.warning(f"a frame is not done {_FINISH_S:g} s after the end of its session: given up")
        if not self._draughtsman.stop(_FINISH_S):
            for session in self._of.values():
                session.give_up_drawing(_FINISH_S)
            log.warning(f"a picture is not drawn {_FINISH_S:g} s after the end of its session: given up")
        return finished

    def when_done(self, action: Callable[[], None]) -> None:
        """Call something once a closed session's last frame is done with: now, or in its thread."""
        self._worker.when_done(action)
