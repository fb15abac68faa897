"""SRMamba: Mamba over the list of patches and over the list reordered by stride (Yang et al., MICCAI 2024)."""

from __future__ import annotations

from pydantic import Field
from torch import nn

from wsi2dmamba.models.parts.mamba1d_mixer import Forward, Mamba1DMixer, MambaOptions, Stride
from wsi2dmamba.models.parts.sequence_aggregator import SequenceAggregator, SequenceOptions


class SRMamba(SequenceAggregator):
    """MambaMIL whose blocks scan the list, and the list reordered by stride, each with its own parameters, and add.

    The reordering is section 2.3 of the paper (arXiv 2403.06800; section number unconfirmed): the list is cut into
    segments of `rate` patches, and the first of every segment come first, then the second ones, and so on.

    Parameters
    ----------
    in_dim
        Number of features per patch.
    out_dim
        Number of outputs that the task asks for.
    options
        See `SRMamba.Options`.
    """

    class Options(SequenceOptions, MambaOptions):
        """Options of SRMamba: those of the list and of the Mamba block.

        Attributes
        ----------
        rate
            Patches per segment of the reordering.
        """

        rate: int = Field(10, ge=1, le=1000)

    def make_mixer(self, index: int, options: SequenceOptions) -> nn.Module:
        """Return a Mamba block with a branch in list order and one in stride order."""
        assert isinstance(options, SRMamba.Options)
        return Mamba1DMixer(options.dim, options, [Forward(), Stride(options.rate)])
