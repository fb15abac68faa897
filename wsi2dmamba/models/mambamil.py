"""MambaMIL: Mamba blocks over the list of patches (Yang et al., MICCAI 2024, arXiv 2403.06800)."""

from __future__ import annotations

from torch import nn

from wsi2dmamba.models.parts.mamba1d_mixer import Forward, Mamba1DMixer, MambaOptions
from wsi2dmamba.models.parts.sequence_aggregator import SequenceAggregator, SequenceOptions


class MambaMIL(SequenceAggregator):
    """Two blocks of LayerNorm → Mamba + residual over the patches in row-major order, then attention pooling.

    Held against the published code; equation numbers unconfirmed. The scan is eq. 2 and 3 of the paper (that of Mamba);
    the aggregation is its attention pooling with tanh. Positions play no part beyond the order of the list. The paper's
    width is 512; here it is `dim`.

    Parameters
    ----------
    in_dim
        Number of features per patch.
    out_dim
        Number of outputs that the task asks for.
    options
        See `MambaMIL.Options`.
    """

    class Options(SequenceOptions, MambaOptions):
        """Options of MambaMIL: those of the list and of the Mamba block."""

    def make_mixer(self, index: int, options: SequenceOptions) -> nn.Module:
        """Return a Mamba block."""
        assert isinstance(options, MambaMIL.Options)
        return Mamba1DMixer(options.dim, options, [Forward()])
