"""The measurements the `texture` descriptor is made of. All take (N, C, H, W) float32 maps and return (N, K)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_TINY = 1e-6


def moments(maps: Tensor) -> Tensor:
    """Return mean, standard deviation and (bounded) skewness of every channel: (N, 3·C)."""
    flat = maps.flatten(2)
    mean = flat.mean(2)
    centred = flat - mean.unsqueeze(2)
    square = centred * centred
    std = square.mean(2).sqrt()
    third = (square * centred).mean(2)
    skew = third / (std**3 + 1e-4)
    return torch.cat([mean, std, torch.tanh(skew / 2)], dim=1)


def bin_counts(indices: Tensor, bins: int) -> Tensor:
    """Return how often each of `bins` values occurs in each row of (N, P) integer `indices`, as (N, bins) shares.

    Counting integers is exact in any order, so the result is the same on every run and device.
    """
    rows, length = indices.shape
    offset = torch.arange(rows, device=indices.device, dtype=indices.dtype).unsqueeze(1) * bins
    counts = torch.bincount((indices + offset).flatten(), minlength=rows * bins)
    return counts.view(rows, bins).to(torch.float32) / length


def joint_histogram(first: Tensor, second: Tensor, *, bins: int, top: float) -> Tensor:
    """Return the (N, bins, bins) histogram of two (N, H, W) maps over [0, top], smoothed over neighbouring bins.

    Smoothing with (1, 2, 1)/4 both ways keeps a small stain shift from moving all mass to other bins.
    """
    scale = bins / top
    last = bins - 1
    row = (first * scale).clamp_(0, last).to(torch.int32)
    column = (second * scale).clamp_(0, last).to(torch.int32)
    shares = bin_counts((row * bins + column).flatten(1), bins * bins).view(-1, 1, bins, bins)
    line = shares.new_tensor([0.25, 0.5, 0.25])
    padded = F.pad(shares, (1, 1, 1, 1), mode="replicate")
    return F.conv2d(padded, torch.outer(line, line).view(1, 1, 3, 3)).squeeze(1)


def oriented_energies(maps: Tensor) -> Tensor:
    """Return edge, ridge and blob strength and their anisotropy of every channel: (N, 7·C).

    First and second differences along 0°, 45°, 90° and 135°: the mean absolute first difference (edges), the mean
    positive and negative parts of the second (dark and bright ridges), each averaged over the four directions
    so that turning the patch changes nothing; the spread between directions (fibres have one, cells do not);
    and the mean of the positive and negative Laplacian (blobs and gaps).
    """
    centre = maps[..., 1:-1, 1:-1]
    pairs = (
        (maps[..., 1:-1, 2:], maps[..., 1:-1, :-2]),
        (maps[..., 2:, 1:-1], maps[..., :-2, 1:-1]),
        (maps[..., 2:, 2:], maps[..., :-2, :-2]),
        (maps[..., 2:, :-2], maps[..., :-2, 2:]),
    )
    edges, ridges, gaps = [], [], []
    laplacian = torch.zeros_like(centre)
    for index, (ahead, behind) in enumerate(pairs):
        reach = 1.0 if index < 2 else 2**-0.5
        edges.append((ahead - behind).abs_().mean((2, 3)) * reach)
        second = centre * 2 - ahead - behind
        if index < 2:
            laplacian += second
        else:
            second *= 0.5
        # mean of max(x, 0) and of max(−x, 0) from the mean of |x| and of x
        size, signed = second.abs().mean((2, 3)), second.mean((2, 3))
        ridges.append((size + signed) / 2)
        gaps.append((size - signed) / 2)
    blob_size, blob_signed = laplacian.abs().mean((2, 3)), laplacian.mean((2, 3))
    edge, ridge, gap = (torch.stack(parts) for parts in (edges, ridges, gaps))
    energies = [edge.mean(0), ridge.mean(0), gap.mean(0), (blob_size + blob_signed) / 2, (blob_size - blob_signed) / 2]
    spreads = [_spread(edge), _spread(ridge)]
    return torch.cat([torch.log10(energy + 1e-3) + 1.5 for energy in energies] + spreads, dim=1)


def local_binary_patterns(image: Tensor, tolerance: float) -> Tensor:
    """Return the (N, 10) shares of the rotation-invariant uniform patterns of a (N, H, W) map.

    Ojala, Pietikäinen and Mäenpää (PAMI 2002) on the 8 direct neighbours. A neighbour counts as higher when it is
    so by `tolerance`, which keeps JPEG noise on flat background out of the patterns.
    """
    centre = image[:, 1:-1, 1:-1] + tolerance
    rows, cols = image.shape[1:]
    ring = ((0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0))
    bits = [(image[:, r : rows - 2 + r, c : cols - 2 + c] > centre).view(torch.uint8) for r, c in ring]
    total = torch.zeros_like(bits[0])
    changes = torch.zeros_like(bits[0])
    for index, bit in enumerate(bits):
        total += bit
        changes += bit ^ bits[index - 1]
    pattern = torch.where(changes <= 2, total, torch.full_like(total, 9))
    return bin_counts(pattern.flatten(1).to(torch.int32), 10)


def nuclei(haematoxylin: Tensor, threshold: Tensor) -> Tensor:
    """Return (N, 5): number, area share, mean area, mean contrast and crowding of dark haematoxylin blobs.

    Parameters
    ----------
    haematoxylin
        (N, H, W) map at about 2 µm per pixel.
    threshold
        (N,) amount above which a pixel belongs to a nucleus.

    Notes
    -----
    A nucleus is a pixel above `threshold` that is the highest of its 3×3 neighbourhood in a smoothed map: a count
    that needs no segmentation, and tells many small nuclei (lymphocytes) from few large ones (tumour).
    """
    maps = haematoxylin.unsqueeze(1)
    smooth = F.avg_pool2d(maps, 3, stride=1, padding=1, count_include_pad=False)
    inside = smooth > threshold.view(-1, 1, 1, 1)
    highest = F.max_pool2d(smooth, 3, stride=1, padding=1) <= smooth
    peaks = (inside & highest).to(torch.float32)
    number = peaks.mean((1, 2, 3))
    area = inside.to(torch.float32).mean((1, 2, 3))
    height = (peaks * smooth).mean((1, 2, 3)) / (number + _TINY) - smooth.mean((1, 2, 3))
    side = max(maps.shape[-1] // 8, 1)
    density = F.avg_pool2d(peaks, side).flatten(1)
    crowding = density.std(1) / (density.mean(1) + 1e-3)
    size = torch.log10((area + 1e-3) / (number + 1e-3))
    return torch.stack([number * 20, area * 2, size, height * 2, crowding / 2], dim=1)


def _spread(directions: Tensor) -> Tensor:
    top, bottom = directions.amax(0), directions.amin(0)
    return 3 * (top - bottom) / (top + bottom + 1e-3)
