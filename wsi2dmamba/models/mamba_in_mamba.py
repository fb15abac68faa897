"""Mamba-in-Mamba: words of patches in sentences of regions (Chen et al., MiM-ISTD, arXiv 2403.02148)."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from wsi2dmamba.models.parts.gated_mixer import GatedOptions
from wsi2dmamba.models.parts.grid_aggregator import GridAggregator, GridOptions
from wsi2dmamba.models.parts.lattice import Lattice2D
from wsi2dmamba.models.parts.ss2d import four_scan_mixer
from wsi2dmamba.models.parts.windows import join_windows, pad_to_windows, split_windows


class MambaInMamba(GridAggregator):
    """Blocks of an inner scan among the patches (words) of each region and an outer scan among regions (sentences).

    Held against the published code (equation numbers unconfirmed): the inner mixer adds to the words; all words of a
    region, normalised and projected together, make its sentence; the outer mixer adds to the sentences. Both mixers are
    SS2D. The paper's stem makes words and sentences from pixels; here a word is a projected patch, and a patch gets out
    its word plus its sentence. (Before SS2D the published code reshapes channels into rows and columns, which scatters
    the words; here they keep their places.)

    Parameters
    ----------
    in_dim
        Number of features per patch.
    out_dim
        Number of outputs that the task asks for.
    options
        See `MambaInMamba.Options`.
    """

    class Options(GridOptions, GatedOptions):
        """Options of Mamba-in-Mamba: those of the raster and of SS2D.

        Attributes
        ----------
        region
            Patches on the side of a region.
        word_dim
            Width of a word; None: a quarter of `dim`.
        """

        region: int = Field(4, ge=1, le=32)
        word_dim: int | None = Field(None, ge=1)

    def make_mixer(self, index: int) -> nn.Module:
        """Return a mixer of words in sentences."""
        assert isinstance(self.options, MambaInMamba.Options)
        options = self.options
        return NestedMixer(options.dim, options.word_dim or max(options.dim // 4, 1), options.region, options)


class NestedMixer(nn.Module):
    """Words → inner SS2D → sentences → outer SS2D → words and sentences to tokens.

    Parameters
    ----------
    dim
        Width of the tokens and sentences.
    word_dim
        Width of the words.
    region
        Patches on the side of a region.
    options
        Of SS2D.
    """

    def __init__(self, dim: int, word_dim: int, region: int, options: GatedOptions) -> None:
        super().__init__()
        self.region, together = region, region * region * word_dim
        self.to_words = nn.Linear(dim, word_dim)
        self.inner_norm = nn.LayerNorm(together)
        self.inner = four_scan_mixer(word_dim, options, "lines")
        self.words_norm = nn.LayerNorm(together)
        self.to_sentence = nn.Linear(together, dim, bias=False)
        self.sentence_norm = nn.LayerNorm(dim)
        self.outer_norm = nn.LayerNorm(dim)
        self.outer = four_scan_mixer(dim, options, "lines")
        self.from_words = nn.Linear(word_dim, dim)

    def forward(self, raster: Tensor, lattice: Lattice2D | None = None) -> Tensor:
        """Mix a (1, rows, cols, dim) raster."""
        rows, cols = raster.shape[1:3]
        padded = pad_to_windows(self.to_words(raster), self.region)
        high, wide = padded.shape[1] // self.region, padded.shape[2] // self.region
        words = split_windows(padded, self.region)
        flat = self.inner_norm(words.flatten(1))
        words = words + self.inner(flat.view(-1, self.region, self.region, words.shape[-1])).reshape(words.shape)
        sentences = self.sentence_norm(self.to_sentence(self.words_norm(words.flatten(1)))).view(1, high, wide, -1)
        sentences = sentences + self.outer(self.outer_norm(sentences))
        tokens = self.from_words(words) + sentences.reshape(high * wide, 1, -1)
        return join_windows(tokens, padded.shape[1], padded.shape[2], self.region)[:, :rows, :cols]
