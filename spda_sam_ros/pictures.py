"""What people look at: overlay, depth in colours and annotations, each only while someone subscribes to it."""

from __future__ import annotations

from collections.abc import Callable

from sensor_msgs.msg import Image

from spda_sam_core.results.draw import colourise_depth, draw_instances
from spda_sam_ros.messages.results import encode_image
from spda_sam_ros.publishers import Publishers
from spda_sam_ros.segmenter import Segmented

try:
    from foxglove_msgs.msg import ImageAnnotations

    from spda_sam_ros.messages.annotations import annotations_message
except ModuleNotFoundError:  # foxglove_msgs is not installed, and nobody need have it
    ImageAnnotations = None

Send = Callable[[], None]
"""Publishes a message that is ready."""


class Pictures:
    """The publishers of pictures.

    Args:
        publishers: makes and destroys them. There are annotations only where foxglove_msgs is installed.
    """

    def __init__(self, publishers: Publishers) -> None:
        self._overlay = publishers.make("overlay", Image, 1)
        self._depth = publishers.make("depth", Image, 1)
        self._annotations = None if ImageAnnotations is None else publishers.make("annotations", ImageAnnotations, 5)

    def wanted(self, *, overlay: bool) -> bool:
        """Whether someone subscribes to any of them.

        Args:
            overlay: whether the overlay may be drawn at all.
        """
        return bool(
            (overlay and self._overlay.get_subscription_count())
            or self._depth.get_subscription_count()
            or (self._annotations is not None and self._annotations.get_subscription_count())
        )

    def draw(self, result: Segmented, *, overlay: bool) -> list[Send]:
        """Draw what someone subscribes to; calling what is returned publishes it.

        Args:
            result: what was found in one image.
            overlay: whether the overlay may be drawn at all.
        """
        ready: list[Send] = []
        if (annotations := self._annotations) is not None and annotations.get_subscription_count():
            outlines = annotations_message(result.instances, result.header, track_ids=result.track_ids)
            ready.append(lambda: annotations.publish(outlines))
        if overlay and self._overlay.get_subscription_count():
            overlay_message = encode_image(draw_instances(result.rgb, result.instances), "rgb8", result.header)
            ready.append(lambda: self._overlay.publish(overlay_message))
        if self._depth.get_subscription_count() and (seen := result.prediction.depth) is not None:
            depth_message = encode_image(colourise_depth(seen), "rgb8", result.header)
            ready.append(lambda: self._depth.publish(depth_message))
        return ready
