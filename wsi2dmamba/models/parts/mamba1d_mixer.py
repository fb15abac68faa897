"""Mamba blocks on sequences: one scan, or several over differently ordered copies of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pydantic import Field
from torch import Tensor, nn

from wsi2dmamba.models.parts.conv import CausalConv1d
from wsi2dmamba.models.parts.selective import SelectiveOptions, SelectiveParameters


class MambaOptions(SelectiveOptions):
    """Options of a 1D Mamba block.

    Attributes
    ----------
    conv_kernel
        Taps of the convolution before the scan.
    """

    conv_kernel: int = Field(4, ge=1, le=31)


class Order(Protocol):
    """An order to scan in: there and back."""

    def there(self, tokens: Tensor) -> Tensor:
        """Reorder (batch, length, channels), possibly padding it with zeros."""

    def back(self, tokens: Tensor, length: int) -> Tensor:
        """Undo `there` on a scan's output, dropping what was padding."""


class Forward:
    """The order as it is."""

    def there(self, tokens: Tensor) -> Tensor:
        """Return the tokens."""
        return tokens

    def back(self, tokens: Tensor, length: int) -> Tensor:
        """Return the tokens."""
        return tokens


class Backward:
    """From the last token to the first."""

    def there(self, tokens: Tensor) -> Tensor:
        """Reverse the tokens."""
        return tokens.flip(1)

    def back(self, tokens: Tensor, length: int) -> Tensor:
        """Reverse the tokens."""
        return tokens.flip(1)


class Stride:
    """Every `rate`-th token, then those after them, and so on; zeros fill the list up to a multiple of `rate`.

    Parameters
    ----------
    rate
        Distance in the list between consecutive tokens of the new order.
    """

    def __init__(self, rate: int) -> None:
        self.rate = rate

    def there(self, tokens: Tensor) -> Tensor:
        """Return tokens 0, rate, 2·rate, …, 1, rate + 1, …"""
        batch, length, channels = tokens.shape
        padded = nn.functional.pad(tokens, (0, 0, 0, -length % self.rate))
        return padded.view(batch, -1, self.rate, channels).transpose(1, 2).reshape(batch, -1, channels)

    def back(self, tokens: Tensor, length: int) -> Tensor:
        """Return the tokens in list order without the padding."""
        batch, _, channels = tokens.shape
        return tokens.view(batch, self.rate, -1, channels).transpose(1, 2).reshape(batch, -1, channels)[:, :length]


class MambaBranch(nn.Module):
    """Convolution → SiLU → selective scan, in one order.

    Parameters
    ----------
    inner
        Channels.
    dt_rank
        Rank of the map to Δ.
    options
        See `MambaOptions`.
    order
        The order it scans in.
    """

    def __init__(self, inner: int, dt_rank: int, options: MambaOptions, order: Order) -> None:
        super().__init__()
        self.order = order
        self.conv = CausalConv1d(inner, options.conv_kernel)
        self.selective = SelectiveParameters(inner, options.state, dt_rank, options.dt_init)

    def forward(self, u: Tensor) -> Tensor:
        """Return the scan of u (batch, length, inner), in the order of u."""
        ordered = nn.functional.silu(self.conv(self.order.there(u)))
        return self.order.back(self.selective.scan_sequence(ordered), u.shape[1])


class Mamba1DMixer(nn.Module):
    """in_proj → branches in several orders, summed and gated → out_proj.

    With one forward branch it is the Mamba block (arXiv 2312.00752, section 3.4).

    Parameters
    ----------
    dim
        Width of the tokens.
    options
        See `MambaOptions`.
    orders
        One branch each, with parameters of its own.
    """

    def __init__(self, dim: int, options: MambaOptions, orders: Sequence[Order]) -> None:
        super().__init__()
        inner = options.inner(dim)
        self.in_proj = nn.Linear(dim, 2 * inner, bias=False)
        self.branches = nn.ModuleList(MambaBranch(inner, options.rank(dim), options, order) for order in orders)
        self.out_proj = nn.Linear(inner, dim, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Mix (batch, length, dim)."""
        u, z = self.in_proj(tokens).chunk(2, dim=-1)
        outputs = [branch(u) for branch in self.branches]
        mixed: Tensor = self.out_proj(sum(outputs[1:], start=outputs[0]) * nn.functional.silu(z))
        return mixed
