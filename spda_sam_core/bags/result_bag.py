"""A bag with what the node would have published, had it been there.

It is of sqlite3 with each message compressed (zstd), metadata version 8: rosbag2 itself brings both plugins, so that no
distribution since Humble needs a further package, as Humble does for MCAP. Label images are nearly empty, and
uncompressed they would be many times as large.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer, WriterError
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from spda_sam_core.bags.message_fields import FIELDS
from spda_sam_core.messages.fields import Header
from spda_sam_core.messages.results import ResultMessages
from spda_sam_core.results.instances import Instances
from spda_sam_core.results.metric import Pinhole

INSTANCES, DETECTIONS, LABEL_INFO = "/spda_sam/instances", "/spda_sam/detections", "/spda_sam/label_info"
_UNSET = QosTime(0, 0)
_LATCHED = Qos(
    QosHistory.KEEP_LAST, 1, QosReliability.RELIABLE, QosDurability.TRANSIENT_LOCAL, _UNSET, _UNSET,
    QosLiveliness.SYSTEM_DEFAULT, _UNSET, False,
)  # fmt: skip
"""Of `label_info`, so that who comes late hears it, as of the node."""


class ResultBag:
    """Writes `/spda_sam/instances`, `/spda_sam/detections` and `/spda_sam/label_info`; in one thread.

    Args:
        path: its folder; one that is there is taken away when the first result comes.
        class_names: of the model.
        threshold: lowest score, for `label_info`.
        camera: with depth it gives 3-D positions; None: there are none.
    """

    def __init__(self, path: Path, class_names: Sequence[str], threshold: float, camera: Pinhole | None) -> None:
        self.path, self.class_names, self.threshold, self.camera = path, class_names, threshold, camera
        self._types = get_typestore(Stores.ROS2_HUMBLE)
        for name, fields in FIELDS.items():
            self._types.register(get_types_from_msg("\n".join(fields), name))
        self._messages = ResultMessages(self._types.types, lambda octets: octets)
        self._writer: Writer | None = None
        self._connections: dict[str, Any] = {}

    def add(
        self,
        header: Header,
        logged_ns: int,
        instances: Instances,
        track_ids: Sequence[int],
        depth_m: NDArray[np.float32] | None,
    ) -> None:
        """Write the results for one picture.

        Args:
            header: of the picture's message.
            logged_ns: when that was recorded.
            instances: what was found.
            track_ids: number of each instance's track.
            depth_m: (H, W) float32 metres, NaN unknown; None where there is none.

        Raises:
            OSError: it cannot be written.
        """
        made = self._messages
        try:
            if self._writer is None:
                self._writer = self._open()
                self._write(LABEL_INFO, logged_ns, made.label_info(self.class_names, self.threshold, header))
            self._write(INSTANCES, logged_ns, made.labels(instances, header))
            detections = made.detections(instances, header, depth_m=depth_m, camera=self.camera, track_ids=track_ids)
            self._write(DETECTIONS, logged_ns, detections)
        except (sqlite3.Error, WriterError) as error:
            raise OSError(f"{self.path}: {error}") from error

    def close(self) -> None:
        """Write its index; before that nothing can read it.

        Raises:
            OSError: it cannot be written.
        """
        if self._writer is None:
            return
        try:
            self._writer.close()
        except (sqlite3.Error, WriterError) as error:
            raise OSError(f"{self.path}: {error}") from error

    def _open(self) -> Writer:
        shutil.rmtree(self.path, ignore_errors=True)
        writer = Writer(self.path, version=8, storage_plugin=StoragePlugin.SQLITE3)
        writer.set_compression(CompressionMode.MESSAGE, CompressionFormat.ZSTD)
        writer.open()
        for topic, kind, qos in (
            (LABEL_INFO, "vision_msgs/msg/LabelInfo", (_LATCHED,)),
            (INSTANCES, "sensor_msgs/msg/Image", ()),
            (DETECTIONS, "vision_msgs/msg/Detection2DArray", ()),
        ):
            self._connections[topic] = writer.add_connection(
                topic, kind, typestore=self._types, offered_qos_profiles=qos
            )
        return writer

    def _write(self, topic: str, logged_ns: int, message: Any) -> None:
        assert self._writer is not None
        connection = self._connections[topic]
        self._writer.write(connection, logged_ns, self._types.serialize_cdr(message, connection.msgtype))
