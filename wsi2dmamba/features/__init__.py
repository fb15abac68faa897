"""Patch features: encoders, extraction and the HDF5 store."""
