"""The cohort table: labels, patients, splits and checks."""
