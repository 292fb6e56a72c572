"""Who hears what a node under measurement publishes, in a process and on a DDS graph of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node


@contextmanager
def witness(variables: Mapping[str, str]) -> Iterator[tuple[Node, SingleThreadedExecutor]]:
    """Make a node in the domain of an environment, and what spins it."""
    context = Context()
    rclpy.init(context=context, domain_id=int(variables["ROS_DOMAIN_ID"]))
    node = rclpy.create_node("witness", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    try:
        yield node, executor
    finally:
        executor.shutdown()
        node.destroy_node()
        context.try_shutdown()


@contextmanager
def segment_node(
    variables: Mapping[str, str], parameters: Sequence[str], *arguments: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run the node until the end.

    Args:
        variables: its environment.
        parameters: as `name:=value`.
        arguments: further ones after `--ros-args`.
    """
    given = [text for parameter in parameters for text in ("-p", parameter)]
    command = [sys.executable, "-m", "spda_sam_ros.node", "--ros-args", *given, *arguments]
    process = subprocess.Popen(command, env=dict(variables), stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def spin_once(
    executor: SingleThreadedExecutor, processes: Sequence[subprocess.Popen[bytes]], timeout_s: float = 0.1
) -> None:
    """Hear one thing.

    Raises:
        RuntimeError: one of the nodes ended.
    """
    for process in processes:
        if process.poll() is not None:
            raise RuntimeError(f"a node ended with exit code {process.returncode}")
    executor.spin_once(timeout_sec=timeout_s)
