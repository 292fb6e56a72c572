"""Launch the segmentation node for one camera, or for several with one copy of the model.

ros2 launch spda_sam_ros segment.launch.py image:=/camera/image_raw depth:=/camera/depth
ros2 launch spda_sam_ros segment.launch.py cameras:=front,port,starboard image:=image_raw depth:=depth/image_rect
"""

import os

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

TOPICS = {
    "image": "topic of the colour images",
    "depth": "topic of depth registered to them (optional)",
    "camera_info": "topic of their calibration (optional, for 3-D positions)",
}
PARAMETERS = {
    "checkpoint": "preset, .safetensors or .onnx file (default: that of the parameter file)",
    "backend": "auto, tensorrt, onnxruntime, openvino or torch (default: that of the parameter file)",
    "device": "auto, cpu, cuda or cuda:N (default: that of the parameter file)",
    "image_transport": "raw or compressed (default: that of the parameter file)",
    "depth_transport": "raw or compressedDepth (default: that of the parameter file)",
}
SWITCHES = {
    "tracking": "true: the same id for a thing as long as it is followed (default: the file's)",
    "autostart": "true: configure and activate at start; false: wait for lifecycle transitions (default: the file's)",
    "use_sim_time": "true: time from /clock, as for a bag played with --clock or a simulation (default: the file's)",
}
PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")  # up to Jazzy; from Kilted on
TRANSPORT_VARIABLES = (*PROFILE_VARIABLES, "FASTDDS_BUILTIN_TRANSPORTS")


def config_file(name: str) -> PathJoinSubstitution:
    """Name a file in this package's config folder."""
    return PathJoinSubstitution([FindPackageShare("spda_sam_ros"), "config", name])


def profile_variables(context: LaunchContext) -> dict[str, str | PathJoinSubstitution]:
    """Tell Fast DDS which profile to take, where the environment does not say anything about that yet.

    Without one, most uncompressed images of 640x480 and more are lost between two processes. This reaches the node
    only: the camera's process needs the same variables where it is started.
    """
    profile = LaunchConfiguration("dds_profile").perform(context)
    if profile == "none" or any(os.environ.get(variable) for variable in TRANSPORT_VARIABLES):
        return {}
    if profile == "shipped":
        return dict.fromkeys(PROFILE_VARIABLES, config_file("fastdds_large_images.xml"))
    if not os.path.isfile(profile):
        raise ValueError(f"dds_profile is '{profile}', no such file: give shipped, none, or the path of an XML file")
    return dict.fromkeys(PROFILE_VARIABLES, os.path.abspath(profile))


def switch(name: str, value: str) -> bool:
    """A truth value as text, as ROS writes it; a parameter that is one takes no text."""
    if value.lower() not in ("true", "false"):
        raise ValueError(f"{name} is '{value}': give true or false")
    return value.lower() == "true"


def camera_names(text: str) -> list[str]:
    """The names in a list with commas, with or without brackets."""
    return [name for part in text.strip().strip("[]").split(",") if (name := part.strip().strip("'\"").strip("/"))]


def remapped(topic: str, target: str, cameras: list[str]) -> list[tuple[str, str]]:
    """Where an input topic comes from: with several cameras from a topic below the name of each."""
    if not cameras:
        return [(topic, target)]
    if target.startswith(("/", "~")):
        raise ValueError(
            f"{topic} is '{target}', one topic for the cameras {', '.join(cameras)}: give what stands below each name, "
            f"as in {topic}:=image_raw for /{cameras[0]}/image_raw"
        )
    return [(f"{camera}/{topic}", f"{camera}/{target}") for camera in cameras]


def make_node(context: LaunchContext) -> list[Node]:
    """Make the node from the arguments; one which was not given leaves the parameter file as it is."""
    values = {name: LaunchConfiguration(name).perform(context) for name in (*PARAMETERS, *SWITCHES)}
    given = {name: switch(name, value) if name in SWITCHES else value for name, value in values.items() if value}
    level = LaunchConfiguration("log_level").perform(context)
    cameras = camera_names(LaunchConfiguration("cameras").perform(context))
    if cameras:
        given["cameras"] = cameras
    topics = {topic: LaunchConfiguration(topic).perform(context) for topic in TOPICS}
    return [
        Node(
            package="spda_sam_ros",
            executable="segment",
            name="spda_sam",
            namespace=LaunchConfiguration("namespace"),
            remappings=[pair for topic, target in topics.items() for pair in remapped(topic, target, cameras)],
            parameters=[LaunchConfiguration("params_file"), *([given] if given else [])],
            ros_arguments=["--log-level", level] if level else [],
            additional_env=profile_variables(context),
            output="screen",
        )
    ]


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments and the node."""
    return LaunchDescription(
        [
            *(DeclareLaunchArgument(t, default_value=t, description=text) for t, text in TOPICS.items()),
            *(
                DeclareLaunchArgument(parameter, default_value="", description=text)
                for parameter, text in {**PARAMETERS, **SWITCHES}.items()
            ),
            DeclareLaunchArgument(
                "cameras",
                default_value="",
                description="names of several cameras that one node serves, as front,port: topics are then taken below "
                "each name, and results come as /front/spda_sam/instances (default: that of the parameter file)",
            ),
            DeclareLaunchArgument(
                "log_level",
                default_value="",
                description="debug, info, warn, error or fatal; NAME:=LEVEL for one logger",
            ),
            DeclareLaunchArgument("namespace", default_value="", description="namespace of the node"),
            DeclareLaunchArgument(
                "params_file", default_value=config_file("node.yaml"), description="YAML file of node parameters"
            ),
            DeclareLaunchArgument(
                "dds_profile",
                default_value="shipped",
                description="Fast DDS profile (XML) of the node: shipped, none, or a path; a profile or transport that "
                "the environment names stays. The camera's process needs the same one, or large images are lost",
            ),
            OpaqueFunction(function=make_node),
        ]
    )
