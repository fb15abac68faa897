"""The 2D selective scan as a PyTorch operator."""
