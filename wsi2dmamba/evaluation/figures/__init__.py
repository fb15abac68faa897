"""The figures of an evaluation: each drawn once, and written as SVG, PNG and the CSV of what it shows."""
