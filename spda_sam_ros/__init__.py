"""SPDA-SAM as a ROS 2 node, and a camera, a recorder and a demo around it.

In the order in which a frame meets them:

    parameters       what can be set, and when
    qos              how topics connect, and what is said when they do not
    inputs           subscriptions: image, depth, calibration
    worker           one slot, one thread: the newest frame wins
    pairing          which depth belongs to the image
    image_msgs       image messages <-> arrays
    depth_msgs       depth messages -> metres
    segmenter        one frame: decode, pair, predict, filter
    geometry         masks and depth -> points in the optical frame
    result_msgs      instances -> label image and detections
    outputs          publishers of all that
    node_statistics  counts, rates and latencies
    diagnostics      counts and state -> /diagnostics
    node             the lifecycle node, which wires these
"""
