"""Slide aggregators: one file each, one interface, one registry."""
