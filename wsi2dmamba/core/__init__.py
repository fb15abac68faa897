"""What every stage stands on: errors, whole-or-not-at-all files, progress, worker processes."""
