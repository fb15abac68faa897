"""The 2D selective scan of 2DMamba as a PyTorch operator.

>>> import torch
>>> from scan2d import selective_scan_2d
>>> u, delta = torch.randn(2, 1, 32, 14, 14).unbind(0)
>>> A = -torch.rand(32, 16)
>>> B, C = torch.randn(2, 1, 16, 14, 14).unbind(0)
>>> selective_scan_2d(u, delta, A, B, C, delta_softplus=True).shape
torch.Size([1, 32, 14, 14])

Importing this package imports torch and nothing else; numba and triton load with the backend that needs them.
"""

from scan2d.backends import available_backends
from scan2d.errors import BackendUnavailableError, InvalidArgumentError, Scan2DError
from scan2d.fusion import dilated_state_fusion
from scan2d.operator import START_CORNERS, selective_scan_1d, selective_scan_2d
from scan2d.wavefront import wavefront_scan_2d

__all__ = [
    "START_CORNERS",
    "BackendUnavailableError",
    "InvalidArgumentError",
    "Scan2DError",
    "available_backends",
    "dilated_state_fusion",
    "selective_scan_1d",
    "selective_scan_2d",
    "wavefront_scan_2d",
]
__version__ = "0.1.0"
