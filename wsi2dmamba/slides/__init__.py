"""Slides as arrays: reading, tissue, the patch lattice, tile files and overlays."""
