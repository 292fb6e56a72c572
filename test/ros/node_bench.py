"""A node process and a robot that talks to it over DDS, both with deadlines."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from array import array
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray

from spda_sam_ros.demo import __main__ as demo

DEADLINE_S = 60.0
FRAME_ID = "camera_optical_frame"
TRANSITIONS = {
    "configure": Transition.TRANSITION_CONFIGURE,
    "activate": Transition.TRANSITION_ACTIVATE,
    "deactivate": Transition.TRANSITION_DEACTIVATE,
    "cleanup": Transition.TRANSITION_CLEANUP,
    "shutdown": Transition.TRANSITION_ACTIVE_SHUTDOWN,
}


def free_domain():
    """A ROS domain on whose discovery port no one on this machine listens."""
    for domain in random.sample(range(1, 102), 101):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("", 7400 + 250 * domain))
            except OSError:
                continue
            return domain
    raise RuntimeError("all 101 ROS domains are in use on this machine")


def environment(domain):
    """Environment of a process on this machine's DDS graph only."""
    return {**demo.environment(), "ROS_DOMAIN_ID": str(domain), "OMP_NUM_THREADS": "1"}


def faults_in(folder):
    """Variables for `faulty_node`: the folder whose files are faults, and where that module is found."""
    paths = (str(Path(__file__).parent), os.environ.get("PYTHONPATH"))
    return {"FAULTS": str(folder), "PYTHONPATH": os.pathsep.join(filter(None, paths))}


class NodeProcess:
    """`segment` in a process of its own, with PyTorch, which needs no measuring; its output in a file.

    A variable that is None is not set in it.
    """

    def __init__(self, log, domain, parameters, *ros_arguments, module="spda_sam_ros.node", variables=None):
        self.log = log
        parameters = {"backend": "torch"} | parameters
        given = [text for name, value in parameters.items() for text in ("-p", f"{name}:={value}")]
        command = [sys.executable, "-m", module, "--ros-args", *given, *ros_arguments]
        with log.open("wb") as output:
            given = environment(domain) | (variables or {})
            variables = {name: value for name, value in given.items() if value is not None}
            self.process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=variables)

    def stop(self, number=signal.SIGINT):
        """Send a signal; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    @property
    def alive(self):
        return self.process.poll() is None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


@dataclass
class Result:
    """The messages of one stamp."""

    labels: Image | None = None
    detections: Detection2DArray | None = None

    @property
    def complete(self):
        return self.labels is not None and self.detections is not None

    @property
    def label_array(self):
        return np.frombuffer(self.labels.data, np.uint16).reshape(self.labels.height, self.labels.width)


@dataclass
class Robot:
    """Publishes what a camera publishes, and keeps what the node publishes.

    Attributes:
        domain: of ROS.
        name: of the node.
        camera: which of the node's, where it has several.
    """

    domain: int
    name: str = "/spda_sam"
    camera: str = ""
    results: dict = field(default_factory=dict)
    statuses: list = field(default_factory=list)

    def __post_init__(self):
        self.context = Context()
        rclpy.init(context=self.context, domain_id=self.domain)
        self.node = rclpy.create_node("robot", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        reliable = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
        self.publishers = {
            topic: self.node.create_publisher(kind, f"{self.inputs}{topic}", reliable)
            for topic, kind in (("image", Image), ("depth", Image), ("camera_info", CameraInfo))
        }
        self.subscribe(f"{self.outputs}/instances", Image, self._on_labels)
        self.subscribe(f"{self.outputs}/detections", Detection2DArray, self._on_detections)
        self.subscribe("/diagnostics", DiagnosticArray, self._on_diagnostics)
        self._clients = {}

    @property
    def inputs(self):
        return f"{self.camera}/" if self.camera else ""

    @property
    def outputs(self):
        return f"/{self.camera}{self.name}" if self.camera else self.name

    def close(self):
        self.executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def subscribe(self, topic, kind, callback, latched=False):
        durability = DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE
        qos = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE, durability=durability)
        return self.node.create_subscription(kind, topic, callback, qos)

    def _on_labels(self, message):
        self.results.setdefault(stamp_ns(message), Result()).labels = message

    def _on_detections(self, message):
        self.results.setdefault(stamp_ns(message), Result()).detections = message

    def _on_diagnostics(self, message):
        self.statuses += [status for status in message.status if status.name == self.outputs.lstrip("/")]

    def spin(self, seconds):
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.executor.spin_once(timeout_sec=min(left, 0.1))

    def wait_until(self, condition, what, deadline_s=DEADLINE_S):
        """Spin until `condition()` is true; what it returned. `what` that is waited for may be a function too."""
        end = time.monotonic() + deadline_s
        while not (value := condition()):
            assert time.monotonic() < end, f"not within {deadline_s:g} s: {what() if callable(what) else what}"
            self.executor.spin_once(timeout_sec=0.05)
        return value

    def now(self):
        return self.node.get_clock().now().nanoseconds

    def header(self, stamp=None, frame_id=FRAME_ID):
        nanoseconds = self.now() if stamp is None else stamp
        return Header(stamp=Time(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9), frame_id=frame_id)

    def publish(self, make_messages, stamp=None):
        """Publish what `make_messages` makes of a header, by topic; the stamp in nanoseconds."""
        header = self.header(stamp)
        messages = make_messages(header)
        for topic in ("camera_info", "depth", "image"):
            if topic in messages:
                self.publishers[topic].publish(messages[topic])
        return stamp_ns_of(header)

    def publish_until(self, make_messages, condition, what, *, stamps=None, pause_s=0.2, deadline_s=DEADLINE_S):
        """Publish frames again and again until `condition(their stamps)` is true; what it returned.

        Again and again, because a best-effort subscription may lose one.

        Args:
            make_messages: gets a header, returns messages by topic.
            condition: gets the stamps of the frames in nanoseconds, in order.
            what: what the condition means.
            stamps: an iterator of stamps in nanoseconds; without it the time of now.
            pause_s: between two frames.
            deadline_s: time after which it is given up.
        """
        sent = []
        end = time.monotonic() + deadline_s
        while time.monotonic() < end:
            sent.append(self.publish(make_messages, None if stamps is None else next(stamps)))
            self.spin(pause_s)
            if value := condition(sent):
                return value
        raise AssertionError(f"{what}: not within {deadline_s:g} s and {len(sent)} frames")

    def segment(self, make_messages, **options):
        """Publish frames until one comes back segmented, and return its result."""

        def came_back(sent):
            return next((r for s in sent if (r := self.results.get(s)) and r.complete), None)

        return self.publish_until(make_messages, came_back, "a segmented frame", **options)

    def call(self, kind, service, request):
        client = self._clients.get(service)
        if client is None:
            client = self._clients[service] = self.node.create_client(kind, service)
        self.wait_until(client.service_is_ready, f"{service} is there")
        future = client.call_async(request)
        self.wait_until(future.done, f"answer of {service}")
        return future.result()

    def state(self):
        return self.call(GetState, f"{self.name}/get_state", GetState.Request()).current_state.label

    def transition(self, name):
        """Ask for a transition by its name or number; whether it was done."""
        request = ChangeState.Request(transition=Transition(id=TRANSITIONS.get(name, name)))
        return self.call(ChangeState, f"{self.name}/change_state", request).success

    def set_parameters(self, **values):
        """Set parameters in one go; why that was refused, or "" where it was not."""
        parameters = [Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]
        request = SetParametersAtomically.Request(parameters=parameters)
        result = self.call(SetParametersAtomically, f"{self.name}/set_parameters_atomically", request).result
        assert result.successful or result.reason
        return "" if result.successful else result.reason

    def wait_for_state(self, label):
        self.wait_until(lambda: self.state() == label, f"state {label}")

    def diagnostics(self, condition=lambda status: True, deadline_s=10.0):
        """The next status which fulfils a condition, its values as a dict."""
        self.statuses.clear()
        found = self.wait_until(
            lambda: next((s for s in self.statuses if condition(s)), None),
            lambda: f"such a status; the last: {self.statuses[-1:]}",
            deadline_s,
        )
        return found, values_of(found)


def values_of(status):
    return {item.key: item.value for item in status.values}


def stamp_ns_of(header):
    return header.stamp.sec * 10**9 + header.stamp.nanosec


def stamp_ns(message):
    return stamp_ns_of(message.header)


def picture(header, height=120, width=160, seed=0):
    """An rgb8 image of coloured noise blocks."""
    blocks = np.random.default_rng(seed).integers(0, 256, (height // 20 + 1, width // 20 + 1, 3), np.uint8)
    rgb = blocks.repeat(20, axis=0).repeat(20, axis=1)[:height, :width]
    data = array("B", rgb.tobytes())
    return Image(header=header, height=height, width=width, encoding="rgb8", step=3 * width, data=data)


def depth_image(header, metres=2.0, height=120, width=160):
    data = array("B", np.full((height, width), metres, np.float32).tobytes())
    return Image(header=header, height=height, width=width, encoding="32FC1", step=4 * width, data=data)


def calibration(header, height=120, width=160):
    k = [100.0, 0.0, width / 2, 0.0, 100.0, height / 2, 0.0, 0.0, 1.0]
    return CameraInfo(header=header, height=height, width=width, k=k)
