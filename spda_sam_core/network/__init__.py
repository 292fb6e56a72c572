"""The network, as the paper's figure has it; `SpdaSamNetwork.forward` is the map.

In the order in which data flow:

    encoders          RGB path of the dual-path encoder
    depth_path        depth path of the dual-path encoder
    fusion            C2FFM: depth into the RGB features, coarse and fine
    semantic_prompts  SSSPM: prompts from the encoder
    spatial_prompts   SSSPM: prompts from the decoder's first pass
    decoder           SAM's mask decoder for many prompts in many images
    joint_decoder     the same in one pass for all prompts of an image
    network           SpdaSamNetwork: all of these in one forward pass
"""
