"""A deploy for real, but for fal: the real command line, package and environment, on this machine."""
