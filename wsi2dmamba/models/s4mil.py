"""S4MIL: a diagonal linear state-space model over the patches, max pooling (Fillioux et al., MICCAI 2023)."""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor, nn

from wsi2dmamba.models.parts.pooling import MaxHead
from wsi2dmamba.models.parts.sequence_aggregator import SequenceAggregator, SequenceOptions


class S4MIL(SequenceAggregator):
    """LayerNorm → S4D → maximum over patches → linear head (arXiv 2306.15789, eq. 1 to 4, with S4D, arXiv 2206.11893).

    The published model has one layer and no residual; here the block keeps the residual of all others. Held against
    published code; equation numbers unconfirmed.

    Parameters
    ----------
    in_dim
        Number of features per patch.
    out_dim
        Number of outputs that the task asks for.
    options
        See `S4MIL.Options`.
    """

    class Options(SequenceOptions):
        """Options of S4MIL: those of the list, and the state.

        Attributes
        ----------
        state
            Real states per channel; half as many complex ones.
        """

        layers: int = Field(1, ge=1, le=64)
        state: int = Field(32, ge=2, le=512)

    def __init__(self, in_dim: int, out_dim: int, options: Options) -> None:
        super().__init__(in_dim, out_dim, options)
        self.head = MaxHead(options.dim, out_dim)

    def make_mixer(self, index: int, options: SequenceOptions) -> nn.Module:
        """Return an S4D layer."""
        assert isinstance(options, S4MIL.Options)
        return S4D(options.dim, options.state)


class S4D(nn.Module):
    """y = Re(Σ 2·C·h) + D·u of h' = A·h + B·u with diagonal complex A, then GELU and a gated linear unit.

    Zero-order hold (S4D, eq. 6): Ā = exp(Δ·A), B̄ = (Ā − 1)/A with B = 1. Time does not change the parameters, so the
    scan is a convolution, computed by FFT.

    Parameters
    ----------
    dim
        Channels.
    state
        Real states per channel.
    """

    def __init__(self, dim: int, state: int) -> None:
        super().__init__()
        half = state // 2
        self.log_dt = nn.Parameter(torch.empty(dim).uniform_(math.log(1e-3), math.log(1e-1)))
        self.C = nn.Parameter(torch.randn(dim, half, 2) * 0.5**0.5)
        self.log_A_real = nn.Parameter(torch.full((dim, half), math.log(0.5)))
        self.A_imag = nn.Parameter(math.pi * torch.arange(half, dtype=torch.get_default_dtype()).repeat(dim, 1))
        self.D = nn.Parameter(torch.randn(dim))
        self.out = nn.Linear(dim, 2 * dim)

    def kernel(self, length: int) -> Tensor:
        """Return the (dim, length) impulse response (S4D, eq. 9)."""
        A = torch.complex(-self.log_A_real.exp(), self.A_imag)
        step_A = A * self.log_dt.exp().unsqueeze(-1)
        weight = torch.view_as_complex(self.C) * torch.expm1(step_A) / A
        powers = torch.exp(step_A.unsqueeze(-1) * torch.arange(length, device=A.device))
        return 2 * torch.einsum("dn,dnl->dl", weight, powers).real

    def forward(self, tokens: Tensor) -> Tensor:
        """Mix (batch, length, dim)."""
        length = tokens.shape[1]
        wide = tokens.float() if tokens.dtype in (torch.float16, torch.bfloat16) else tokens
        spectrum = torch.fft.rfft(wide, n=2 * length, dim=1) * torch.fft.rfft(self.kernel(length), n=2 * length).T
        y = torch.fft.irfft(spectrum, n=2 * length, dim=1)[:, :length] + wide * self.D
        return nn.functional.glu(self.out(nn.functional.gelu(y)), dim=-1)
