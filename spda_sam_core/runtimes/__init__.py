"""What runs the network: one contract, and one module per runtime, imported only when it is asked for."""
