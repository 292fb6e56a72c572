"""Training of SPDA-SAM: rendered world, data sets, losses, training and evaluation scripts.

`spda_sam_core` never imports this package, and this package never imports ROS.
"""
