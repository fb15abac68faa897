"""Tasks, losses, the Lightning loop and checkpoints."""
