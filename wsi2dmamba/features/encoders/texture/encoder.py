"""`texture`: stain histograms, filter energies and binary patterns, with nothing learned."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from wsi2dmamba.features.encoders.base import Encoder, EncoderInfo
from wsi2dmamba.features.encoders.texture.measures import (
    bin_counts,
    joint_histogram,
    local_binary_patterns,
    moments,
    nuclei,
    oriented_energies,
)
from wsi2dmamba.features.encoders.texture.stains import optical_density, unmixing_matrix

# Patches measured at a time: their maps stay in the processor's cache.
_CPU_GROUP = 8
_OCTAVES = 4
# Four octaves need this many pixels; smaller patches are not halved, and the smallest are enlarged.
_LEAST_SIDE = 32
_JOINT_BINS = 16
_STAIN_TOP = 1.2


class TextureEncoder(Encoder):
    """A hand-made descriptor of H&E patches: needs no download and no training.

    It is *not* a foundation model: it tells lymphocytes, tumour, stroma, fat and background apart by stain and
    texture, and knows nothing of morphology beyond that. Use it for demonstrations, tests and as a floor that a
    learned encoder must beat.

    The patch is halved (1 µm per pixel for patches at 0.5 µm), unmixed into haematoxylin, eosin and residual, and
    described by: joint and single histograms of the stains and of their ratio (the ratio and the patterns do not
    depend on how strongly a slide was stained), moments, edge, ridge and blob energies over four octaves, local
    binary patterns at two scales, and counts of nuclei. All numbers are of order one. The output does not depend on
    which other patches are in the batch.
    """

    cheap = True
    unmixing: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("unmixing", unmixing_matrix(), persistent=False)
        dim = self.forward(torch.full((1, 3, 128, 128), 200.0)).shape[1]
        self.info = EncoderInfo(name="texture", dim=dim, mpp=0.5, patch_px=None, revision="texture-2")

    def preprocess(self, patches: Tensor) -> Tensor:
        """Halve (N, H, W, 3) uint8 patches by area to (N, 3, H/2, W/2) float32 grey levels (small ones are kept)."""
        if patches.device.type == "cpu":
            return torch.cat([_halved(group) for group in patches.split(_CPU_GROUP)])
        return _halved(patches)

    def forward(self, inputs: Tensor) -> Tensor:
        """Describe (N, 3, h, w) grey levels (h and w at least 32) by (N, dim) float32 numbers."""
        if inputs.device.type == "cpu" and len(inputs) > _CPU_GROUP:
            return torch.cat([self._describe(group) for group in inputs.split(_CPU_GROUP)])
        return self._describe(inputs)

    def _describe(self, rgb: Tensor) -> Tensor:
        density = optical_density(rgb.to(torch.float32))
        stains = F.conv2d(density, self.unmixing.view(3, 3, 1, 1))
        haematoxylin, eosin = stains[:, 0], stains[:, 1]
        parts = [moments(stains), *_histograms(stains)]
        pair = stains[:, :2]
        for octave in range(_OCTAVES):
            if octave:
                pair = F.avg_pool2d(pair, 2)
            parts.append(oriented_energies(pair))
            if octave == 1:
                parts.extend(_nuclei_measures(pair[:, 0]))
                parts.append(torch.sqrt(local_binary_patterns(pair[:, 0], 0.02)))
            if octave == 3:
                parts.append(moments(pair)[:, 2:])
        parts.append(torch.sqrt(local_binary_patterns(haematoxylin + eosin, 0.03)))
        return torch.cat(parts, dim=1)


def _halved(patches: Tensor) -> Tensor:
    pixels = patches.permute(0, 3, 1, 2).to(torch.float32)
    side = min(pixels.shape[-2:])
    if side >= 2 * _LEAST_SIDE:
        return F.avg_pool2d(pixels, 2).contiguous()
    if side < _LEAST_SIDE:
        pixels = F.interpolate(pixels, scale_factor=_LEAST_SIDE / side, mode="bilinear", recompute_scale_factor=True)
    return pixels.contiguous()


def _histograms(stains: Tensor) -> list[Tensor]:
    haematoxylin, eosin, residual = stains.unbind(1)
    joint = joint_histogram(haematoxylin, eosin, bins=_JOINT_BINS, top=_STAIN_TOP)
    coarse = F.avg_pool2d(joint.unsqueeze(1), 2).squeeze(1) * 4
    amount = haematoxylin.clamp(min=0) + eosin.clamp(min=0)
    ratio = haematoxylin.clamp(min=0) / (amount + 0.05)
    shades = bin_counts((ratio * 12).clamp_(0, 11).to(torch.int32).flatten(1), 12)
    other = bin_counts(((residual + 0.2) * 20).clamp_(0, 7).to(torch.int32).flatten(1), 8)
    shares = [coarse.flatten(1), joint.sum(2), joint.sum(1), shades, other]
    # Square roots (Hellinger): Euclidean distance between them compares distributions.
    return [torch.sqrt(share) for share in shares]


def _nuclei_measures(haematoxylin: Tensor) -> list[Tensor]:
    flat = haematoxylin.flatten(1).to(torch.float64)  # rounding must not move the threshold across a pixel
    own = (flat.mean(1) + 0.75 * flat.std(1)).to(torch.float32)
    fixed = torch.full_like(own, 0.35)
    return [nuclei(haematoxylin, own), nuclei(haematoxylin, fixed)]
