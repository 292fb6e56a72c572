"""SPDA-SAM as a ROS 2 node, and a camera, a recorder and a demo around it.

In the order in which a frame meets them:

    parameters       what can be set, and when
    qos              how topics connect, and what is said when they do not
    lost_messages    what helps against losses in DDS
    inputs           subscriptions: image, depth, calibration
    worker           a slot for each camera, one thread: the newest frame wins, in turn
    pairing          which depth belongs to the image
    messages         messages <-> arrays, metres and instances
    segmenter        one frame: decode, pair, predict, filter
    publishers       what publishes below one name
    outputs          publishers of results
    pictures         publishers of what people look at
    drawing          a thread for them, so that masks do not wait
    camera           one camera: its names, its counts, what is said about it
    camera_session   one camera from activation to deactivation: these together
    session          all cameras and their thread
    streams          which inputs are there, were there, and how they are stamped
    watchdog         images without results: for how long
    node_statistics  counts, rates and latencies
    health           what is to be said of all that, and how bad it is
    diagnostics      counts and state -> /diagnostics
    loading          long work, while signals are heard
    transitions      lifecycle transitions none of which goes wrong in silence
    node             the lifecycle node, which wires these
    segment          the program: signals, context, exit code
    demo             camera, node and recorder, to see it work
"""
