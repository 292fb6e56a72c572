"""Instances as what Foxglove draws over the camera's own picture: outlines and names, sharp at any size."""

from __future__ import annotations

from collections.abc import Sequence

from builtin_interfaces.msg import Time
from foxglove_msgs.msg import Color, ImageAnnotations, Point2, PointsAnnotation, TextAnnotation
from std_msgs.msg import Header

from spda_sam_core.results.draw import class_colour
from spda_sam_core.results.instances import Instances
from spda_sam_core.results.polygons import polygons_of

_FILL = 0.25
_THICKNESS_PX = 2.0
_FONT_PX = 14.0
_PLATE = Color(r=0.06, g=0.06, b=0.06, a=0.8)


def annotations_message(
    instances: Instances, header: Header, *, track_ids: Sequence[int] | None = None
) -> ImageAnnotations:
    """Make the annotations, in the colours that the overlay has.

    Args:
        instances: what was found.
        header: that of the image; its stamp is that of each annotation.
        track_ids: number of each instance's track, where things are followed.

    Returns:
        A closed outline for each part of a mask, in pixels from the top left corner of the image, and a text at the top
        left of each box: number of the track, class, score. Where masks overlap both are outlined. Holes are lost.
    """
    message = ImageAnnotations()
    if hasattr(message, "timestamp"):  # since foxglove_msgs 3.2.5: an image without instances has one, too
        message.timestamp = header.stamp
    for k, (mask, box, class_id) in enumerate(
        zip(instances.masks, instances.boxes_xyxy, instances.class_ids.tolist(), strict=True)
    ):
        red, green, blue = (channel / 255 for channel in class_colour(class_id))
        for outline in polygons_of(mask):
            message.points.append(_outline(outline, (red, green, blue), header.stamp))
        number = "" if track_ids is None else f"#{track_ids[k]} "
        # its position is its bottom left
        at = Point2(x=float(box[0]), y=max(float(box[1]), _FONT_PX))
        message.texts.append(
            TextAnnotation(
                timestamp=header.stamp,
                position=at,
                text=f"{number}{instances.class_names[class_id]} {instances.scores[k]:.2f}",
                font_size=_FONT_PX,
                text_color=Color(r=red, g=green, b=blue, a=1.0),
                background_color=_PLATE,
            )
        )
    return message


def _outline(xy: Sequence[float], rgb: tuple[float, float, float], stamp: Time) -> PointsAnnotation:
    red, green, blue = rgb
    return PointsAnnotation(
        timestamp=stamp,
        type=PointsAnnotation.LINE_LOOP,
        points=[Point2(x=x, y=y) for x, y in zip(xy[::2], xy[1::2], strict=True)],
        outline_color=Color(r=red, g=green, b=blue, a=1.0),
        fill_color=Color(r=red, g=green, b=blue, a=_FILL),
        thickness=_THICKNESS_PX,
    )
