"""Messages to arrays and back: images, depth, calibration, results. What is decided here needs no node."""
