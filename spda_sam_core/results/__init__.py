"""From the network's outputs to `Instances`, and what is made of them: pictures, positions in metres."""
