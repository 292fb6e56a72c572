"""SPDA-SAM without ROS.

The files in the order in which data flow:

config              numbers of the network, from YAML
preprocess          image and depth to tensors
depth               metric or relative depth to normalised inverse depth
depth_estimator     depth from the image, where no sensor gives it
encoder             RGB path of the dual-path encoder
depth_path          depth path of the dual-path encoder
fusion              C2FFM: depth into the RGB features, coarse and fine
semantic_prompts    SSSPM: prompts from the encoder
spatial_prompts     SSSPM: prompts from the decoder's first pass
decoder             SAM's mask decoder for many prompts in many images
network             SpdaSamNetwork: all of these in one forward pass
postprocess         network outputs to instances
instances           Instances, the result
spda_sam            SpdaSam: image and depth in, instances out
checkpoint          safetensors files
draw                pictures of results
"""
