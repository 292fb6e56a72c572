"""A camera, the node and a recorder on one DDS graph, to see it all work in a minute. The node never imports this."""
