"""The network, as the paper's figure has it; `SpdaSamNetwork.forward` is the map.

In the order in which data flow:

    encoders          RGB path of the dual-path encoder
    depth_head        depth from the RGB path, where none is given
    depth_path        depth path of the dual-path encoder
    fusion            C2FFM: depth into the RGB features, coarse and fine
    pyramid           what proposals are read from and masks are drawn with
    proposals         every place says what it shows and where
    suppression       doubles out, with static shapes
    semantic_prompts  SSSPM: prompts from the encoder
    spatial_prompts   SSSPM: prompts from the decoder's first pass
    decoder           SAM's mask decoder, all prompts of an image in one pass
    mask_head         a mask head for each instance, at stride 4
    layers            what several of these share
    network           SpdaSamNetwork: all of these in one forward pass
"""
