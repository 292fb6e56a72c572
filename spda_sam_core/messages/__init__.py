"""Messages of ROS without ROS: read by their fields, made of whatever classes the caller has.

    fields       what a message must have to be read
    image        image messages to arrays
    depth        depth messages to metres
    camera_info  calibration messages to a pinhole camera
    results      instances to messages

The node brings the classes of its ROS, a bag those of `rosbags`.
"""
