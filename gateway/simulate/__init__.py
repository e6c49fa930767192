"""Surroundings that are not there: signals that play the physical world, and seams that carry them to drivers."""
