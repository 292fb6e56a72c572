"""Launch the segmentation node for one camera; launch it again in another namespace for the next one.

ros2 launch spda_sam_ros segment.launch.py image:=/camera/image_raw depth:=/camera/depth
"""

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
    "checkpoint": "preset or .safetensors file (default: that of the parameter file)",
    "device": "auto, cpu, cuda or cuda:N (default: that of the parameter file)",
}


def make_node(context: LaunchContext) -> list[Node]:
    """Make the node from the arguments; one which was not given leaves the parameter file as it is."""
    values = {name: LaunchConfiguration(name).perform(context) for name in PARAMETERS}
    given = {name: value for name, value in values.items() if value}
    return [
        Node(
            package="spda_sam_ros",
            executable="segment",
            name="spda_sam",
            namespace=LaunchConfiguration("namespace"),
            remappings=[(topic, LaunchConfiguration(topic)) for topic in TOPICS],
            parameters=[LaunchConfiguration("params_file"), *([given] if given else [])],
            output="screen",
        )
    ]


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments and the node."""
    default_file = PathJoinSubstitution([FindPackageShare("spda_sam_ros"), "config", "node.yaml"])
    return LaunchDescription(
        [
            *(DeclareLaunchArgument(t, default_value=t, description=text) for t, text in TOPICS.items()),
            *(DeclareLaunchArgument(p, default_value="", description=text) for p, text in PARAMETERS.items()),
            DeclareLaunchArgument("namespace", default_value="", description="namespace of the node"),
            DeclareLaunchArgument(
                "params_file", default_value=default_file, description="YAML file of node parameters"
            ),
            OpaqueFunction(function=make_node),
        ]
    )
