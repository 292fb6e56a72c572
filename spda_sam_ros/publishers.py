"""Publishers below one name: all that are asked for, or none."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from rclpy.lifecycle import LifecycleNode

from spda_sam_ros.qos import endpoint_options, overrides_explained, result_qos


class Publishers:
    """Makes lifecycle publishers, which are silent while the node is not active.

    Args:
        node: the node that owns them.
        name: what their names begin with, `~` for the node's own.
        mismatch: called with topic and sentence for a subscription which cannot connect.
    """

    def __init__(self, node: LifecycleNode, name: str, mismatch: Callable[[str, str], None]) -> None:
        self.node = node
        self.name = name
        self._mismatch = mismatch
        self._made = ExitStack()

    def make(self, topic: str, message_type: type[Any], depth: int, *, latched: bool = False) -> Any:
        """Make one.

        Args:
            topic: what its name ends with.
            message_type: of its messages.
            depth: how many of them are kept.
            latched: whether the last one is there for those who come later.

        Raises:
            ValueError: an override of its QoS that is none; those that were made before are destroyed then.
        """
        name = f"{self.name}/{topic}"
        full_name = self.node.resolve_topic_name(name)  # to speak of it: the endpoint remaps the name itself
        options = endpoint_options(full_name, publisher=True, mismatch=self._mismatch)
        qos = result_qos(depth, latched=latched)
        try:
            with overrides_explained(full_name, "publisher"):
                endpoint = self.node.create_lifecycle_publisher(message_type, name, qos, **options)
        except ValueError:
            self.destroy()
            raise
        self._made.callback(self.node.destroy_lifecycle_publisher, endpoint)
        return endpoint

    def destroy(self) -> None:
        """Destroy all; not to be used after that."""
        self._made.close()
