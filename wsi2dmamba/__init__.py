"""From gigapixel slides and a table to a trained 2DMamba model and an evaluation a reviewer accepts."""

__version__ = "0.1.0"
