"""How a model learns: the run's settings, losses, optimiser, processes and files."""
