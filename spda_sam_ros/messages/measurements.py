"""Where each instance is and how large, as a point cloud: one point an instance, with its area and its label."""

from __future__ import annotations

import array

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

from spda_sam_core.results.area import surface_area_m2
from spda_sam_core.results.instances import Instances
from spda_sam_core.results.metric import Pinhole

_FIELDS = {"x": "f4", "y": "f4", "z": "f4", "area_m2": "f4", "label": "u4"}
_POINT = np.dtype([(name, f"<{kind}") for name, kind in _FIELDS.items()])
_KINDS = {"f4": PointField.FLOAT32, "u4": PointField.UINT32}


def measurements_message(
    instances: Instances, header: Header, *, depth_m: NDArray[np.float32], camera: Pinhole
) -> PointCloud2:
    """Make the cloud.

    Args:
        instances: what was found.
        header: that of the image; the points are in its optical frame (REP-103).
        depth_m: (H, W) metric depth of a sensor, NaN unknown.
        camera: the image's camera.

    Returns:
        A point x, y, z in metres, the centroid, for each instance with any known depth; `area_m2` of the surface that
        its mask covers, NaN where too little of it has depth; `label`, its value in the label image.
    """
    points = []
    for k, (mask, box) in enumerate(zip(instances.masks, instances.boxes_xyxy, strict=True), start=1):
        centroid = camera.centroid(mask, box, depth_m)
        if centroid is not None:
            area_m2 = surface_area_m2(camera, mask, box, depth_m)
            points.append((*centroid, np.nan if area_m2 is None else area_m2, k))
    cloud = np.array(points, _POINT)
    fields = [  # all are of 4 bytes
        PointField(name=name, offset=4 * i, datatype=_KINDS[kind], count=1)
        for i, (name, kind) in enumerate(_FIELDS.items())
    ]
    return PointCloud2(
        header=header,
        height=1,
        width=len(cloud),
        fields=fields,
        is_bigendian=False,
        point_step=_POINT.itemsize,
        row_step=cloud.nbytes,
        data=array.array("B", cloud.tobytes()),
        is_dense=not bool(np.isnan(cloud["area_m2"]).any()),
    )
