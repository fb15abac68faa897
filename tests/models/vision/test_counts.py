"""Parameters and operations are the published ones, to the published digits."""

from __future__ import annotations

import math

import pytest

from wsi2dmamba.models.vision import CONFIGS, VisionConfig
from wsi2dmamba.models.vision.counting import count_operations, count_parameters

# VMamba's table of its second version (assets/performance.md of its repository): #params in millions, FLOPs in 1e9,
# with the head, 224². 2DVMamba-T is the row s1l8 with 2D scans, which change neither number; all rows check the rule.
PUBLISHED = {
    "T s1l8": (CONFIGS["tiny"], 30, 4.9),
    "T s2l5": (VisionConfig(depths=(2, 2, 5, 2), ssm_ratio=2.0), 31, 4.9),
    "S s2l15": (CONFIGS["small"], 50, 8.7),
    "S s1l20": (VisionConfig(depths=(2, 2, 20, 2)), 49, 8.6),
    "B s2l15": (VisionConfig(depths=(2, 2, 15, 2), ssm_ratio=2.0, dim=128), 89, 15.4),
    "B s1l20": (VisionConfig(depths=(2, 2, 20, 2), dim=128), 87, 15.2),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_counts_are_the_published_ones(name):
    config, millions, billions = PUBLISHED[name]
    assert round(count_parameters(config) / 1e6) == millions
    assert round(count_operations(config) / 1e9, 1) == billions


def by_formula(config: VisionConfig, px: int, classes: int) -> int:
    """The same rule from the layers' sizes alone."""
    cells = math.ceil(px / 2) ** 2
    half, dim = config.dim // 2, config.dim
    total = cells * half * (27 + 5)
    cells = math.ceil(px / 4) ** 2
    total += cells * dim * (9 * half + 5)
    for stage, (width, depth) in enumerate(zip(config.widths, config.depths, strict=True)):
        if stage:
            cells = math.ceil(px / 2 ** (stage + 2)) ** 2
            total += cells * width * (9 * width // 2 + 5)
        e, rank, n = config.inner(width), config.dt_rank(width), config.state
        linear = 2 * width * e + 9 * e + 4 * e * (rank + 2 * n) + 4 * rank * e + 8 * width * width
        total += depth * cells * (linear + 5 * (2 * width + e) + 4 * e * (9 * n + 1))
    return total + 5 * cells * width + width * classes


@pytest.mark.parametrize("px", [224, 97])
@pytest.mark.parametrize("name", ["tiny", "nano"])
def test_counted_operations_are_those_of_the_formula(name, px):
    assert count_operations(CONFIGS[name], px, classes=7) == by_formula(CONFIGS[name], px, classes=7)
