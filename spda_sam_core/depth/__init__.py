"""Depth of any origin becomes one normalised inverse-depth map; estimators stand in where no sensor gives it."""
