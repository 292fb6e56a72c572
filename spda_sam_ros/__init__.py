"""SPDA-SAM as a ROS 2 node, and a camera, a recorder and a demo around it.

In the order in which a frame meets them:

    parameters       what can be set, and when
    qos              how topics connect, and what is said when they do not
    inputs           subscriptions: image, depth, calibration
    worker           one slot, one thread: the newest frame wins
    pairing          which depth belongs to the image
    messages         messages <-> arrays, metres and instances
    segmenter        one frame: decode, pair, predict, filter
    outputs          publishers of results
    node_statistics  counts, rates and latencies
    diagnostics      counts and state -> /diagnostics
    node             the lifecycle node, which wires these
    demo             camera, node and recorder, to see it work
"""
