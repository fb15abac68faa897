"""A fabricated cohort and the whole pipeline on it."""
