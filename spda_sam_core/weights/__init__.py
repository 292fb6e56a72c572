"""Files of weights: our checkpoints, official bases, and how to get them. Nothing is ever unpickled as code."""
