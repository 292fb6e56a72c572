"""The messages of vision_msgs 4.x that are written: names and types of their fields, which are the wire format.

`rosbags` knows the packages of ROS itself, and vision_msgs is none of them.
"""

FIELDS = {
    "vision_msgs/msg/Point2D": ("float64 x", "float64 y"),
    "vision_msgs/msg/Pose2D": ("vision_msgs/Point2D position", "float64 theta"),
    "vision_msgs/msg/BoundingBox2D": ("vision_msgs/Pose2D center", "float64 size_x", "float64 size_y"),
    "vision_msgs/msg/ObjectHypothesis": ("string class_id", "float64 score"),
    "vision_msgs/msg/ObjectHypothesisWithPose": (
        "ObjectHypothesis hypothesis",
        "geometry_msgs/PoseWithCovariance pose",
    ),
    "vision_msgs/msg/Detection2D": (
        "std_msgs/Header header",
        "ObjectHypothesisWithPose[] results",
        "BoundingBox2D bbox",
        "string id",
    ),
    "vision_msgs/msg/Detection2DArray": ("std_msgs/Header header", "Detection2D[] detections"),
    "vision_msgs/msg/VisionClass": ("uint16 class_id", "string class_name"),
    "vision_msgs/msg/LabelInfo": (
        "std_msgs/Header header",
        "vision_msgs/VisionClass[] class_map",
        "float32 threshold",
    ),
}
