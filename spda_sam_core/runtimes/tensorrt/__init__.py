"""TensorRT and TensorRT for RTX, which share all names that are needed here.

flavour      which of the two modules is installed, and its version
log          what it says, and errors made of that: its calls fail by None and text
build        graph to engine, in a process of its own
cache        engines on disk: keyed, locked, written whole, verified
cuda         the driver, through ctypes: devices, memory, streams, graphs
execution    an engine on a GPU: the only part that cannot run without one
runtime      `TensorRt`: the contract of a runtime on top of these
"""
