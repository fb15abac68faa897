"""Metrics with intervals, plots and the report."""
