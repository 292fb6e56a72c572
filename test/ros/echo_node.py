"""Stands in for the node: answers each image with two instances, its left and its right half."""

import sys
from array import array

import numpy as np
import rclpy
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import Image
from vision_msgs.msg import (
    Detection2D,
    Detection2DArray,
    LabelInfo,
    ObjectHypothesis,
    ObjectHypothesisWithPose,
    VisionClass,
)

EVERY = int(sys.argv[1]) if len(sys.argv) > 1 else 1

rclpy.init()
node = rclpy.create_node("spda_sam")
labels = node.create_publisher(Image, "spda_sam/instances", 5)
detections = node.create_publisher(Detection2DArray, "spda_sam/detections", 5)
classes = [VisionClass(class_id=0, class_name="anode"), VisionClass(class_id=1, class_name="ship_hull")]
latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
label_info = node.create_publisher(LabelInfo, "spda_sam/label_info", latched)
label_info.publish(LabelInfo(class_map=classes))
heard = 0


def half(name, score, left, width, height):
    detection = Detection2D()
    hypothesis = ObjectHypothesis(class_id=name, score=score)
    detection.results.append(ObjectHypothesisWithPose(hypothesis=hypothesis))
    detection.bbox.center.position.x = left + width / 2
    detection.bbox.center.position.y = height / 2
    detection.bbox.size_x, detection.bbox.size_y = float(width), float(height)
    return detection


def answer(image):
    global heard
    heard += 1
    if heard % EVERY:
        return
    label = np.ones((image.height, image.width), np.uint16)
    label[:, image.width // 2 :] = 2
    message = Image(header=image.header, height=image.height, width=image.width, encoding="mono16")
    message.step = image.width * 2
    message.data = array("B", label.tobytes())
    labels.publish(message)
    size = image.width // 2
    both = [half("ship_hull", 0.9, 0, size, image.height), half("anode", 0.5, size, size, image.height)]
    detections.publish(Detection2DArray(header=image.header, detections=both))


node.create_subscription(Image, "image", answer, qos_profile_sensor_data)
rclpy.spin(node)
