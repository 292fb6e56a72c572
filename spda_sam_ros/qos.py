"""How the node's topics connect, and what is said when they cannot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rclpy.node import Node
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSProfile,
    ReliabilityPolicy,
    qos_policy_name_from_kind,
)
from rclpy.qos_overriding_options import QoSOverridingOptions

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks, UnsupportedEventTypeError
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks, UnsupportedEventTypeError


def sensor_qos(depth: int) -> QoSProfile:
    """Return what hears every publisher: best effort, volatile, the last `depth` messages."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.VOLATILE,
    )


def result_qos(depth: int, *, latched: bool = False) -> QoSProfile:
    """Return what every subscriber can hear: reliable, and transient local where it is latched."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def endpoint_options(
    topic: str,
    *,
    publisher: bool,
    mismatch: Callable[[str, str], None],
    lost: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Return keyword arguments for `create_publisher` or `create_subscription`.

    With them the `qos_overrides.<topic>.*` parameters apply, and a peer which cannot connect is reported.

    Args:
        topic: its full name, for the report.
        publisher: which of the two.
        mismatch: called with the topic and a sentence about what does not match.
        lost: for a subscription, called with how many messages were lost on the way. Not every middleware tells: with
            it, `create_subscription` raises `UnsupportedEventTypeError` where it does not.
    """

    def incompatible(event: Any) -> None:
        policy = qos_policy_name_from_kind(event.last_policy_kind).lower()
        peer, kind = ("subscription", "publisher") if publisher else ("publisher", "subscription")
        # the policies that `with_default_policies` lets parameters override
        here = policy in ("history", "depth", "reliability")
        or_here = f", or here with the parameter qos_overrides.{topic}.{kind}.{policy}" if here else ""
        mismatch(
            topic,
            f"a {peer} of {topic} has incompatible {policy}, nothing passes between it and this node: "
            f"change it there{or_here}",
        )

    callbacks = PublisherEventCallbacks if publisher else SubscriptionEventCallbacks
    further = {} if lost is None else {"message_lost": lambda event: lost(event.total_count_change)}
    return {
        "qos_overriding_options": QoSOverridingOptions.with_default_policies(),
        "event_callbacks": callbacks(incompatible_qos=incompatible, **further),
    }


def subscribe(
    node: Node,
    message_type: type[Any],
    topic: str,
    callback: Callable[[Any], None],
    depth: int,
    *,
    mismatch: Callable[[str, str], None],
    lost: Callable[[int], None],
) -> tuple[Any, bool]:
    """Subscribe as to a sensor; see `endpoint_options`. The topic's name is remapped here.

    Returns:
        The subscription, and whether `lost` is told of what is lost.

    Raises:
        ValueError: an override of its QoS that is none.
    """
    full_name = node.resolve_topic_name(topic)
    with overrides_explained(full_name, "subscription"):
        try:
            options = endpoint_options(full_name, publisher=False, mismatch=mismatch, lost=lost)
            return node.create_subscription(message_type, topic, callback, sensor_qos(depth), **options), True
        except UnsupportedEventTypeError:  # the middleware does not tell
            options = endpoint_options(full_name, publisher=False, mismatch=mismatch)
            return node.create_subscription(message_type, topic, callback, sensor_qos(depth), **options), False


@contextmanager
def overrides_explained(topic: str, kind: str) -> Iterator[None]:
    """Say what to mend where an endpoint cannot be made, which is where an override is no policy.

    Args:
        topic: its full name.
        kind: `publisher` or `subscription`.

    Raises:
        ValueError: in the place of whatever rclpy raises.
    """
    try:
        yield
    except Exception as error:
        raise ValueError(
            f"no {kind} of {topic}: {error}: check the parameters qos_overrides.{topic}.{kind}.* that the node was "
            "started with: reliability is best_effort or reliable, history keep_last or keep_all, depth a whole "
            "number; then start it again"
        ) from error
