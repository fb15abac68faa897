"""Settings of `wsi2dmamba tile`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from wsi2dmamba.core.validation import Settings
from wsi2dmamba.slides.reader import Backend

TissueMethod = Literal["auto", "otsu", "hsv", "entropy"]


class TissueConfig(Settings):
    """How tissue is told from background.

    Attributes
    ----------
    method
        ``auto``: colour first, darkness where nothing is coloured; ``hsv``: saturation; ``otsu``: darkness;
        ``entropy``: local disorder. All of them recognise dark backgrounds.
    min_area_um2
        Smaller pieces are dropped, µm².
    max_hole_um2
        Smaller holes are filled, µm².
    exclude_artefacts
        Keep ink, black borders and haze out.
    coarsest_um
        Tissue is never looked for at more µm per pixel than this.
    """

    method: TissueMethod = "auto"
    min_area_um2: float = Field(default=10_000.0, ge=0)
    max_hole_um2: float = Field(default=10_000.0, ge=0)
    exclude_artefacts: bool = True
    coarsest_um: float = Field(default=16.0, gt=0)


TISSUE_PRESETS: dict[str, dict[str, float]] = {
    # Needle cores and fragments: fine resolution, hardly any size filter.
    "biopsy": {"min_area_um2": 2_000.0, "max_hole_um2": 2_000.0, "coarsest_um": 6.0},
    # Large pieces: debris goes, vessels and cracks are filled.
    "resection": {"min_area_um2": 100_000.0, "max_hole_um2": 50_000.0},
    # Cores of 0.6 to 2 mm: torn-off scraps go, lumina are kept open.
    "tma": {"min_area_um2": 30_000.0, "max_hole_um2": 5_000.0, "coarsest_um": 8.0},
}


class TileConfig(Settings):
    """What to tile, at which resolution, and where the results go.

    Attributes
    ----------
    slides
        Slide files, or folders that are searched recursively.
    out
        Results: ``tiles/``, ``overlays/``, ``tiles.csv``.
    mpp
        Micrometres per pixel of the patches.
    patch_px, overlap_px
        Patch side and overlap of neighbours, pixels at `mpp`.
    min_tissue
        Least fraction of a patch that must be tissue. Patches with no tissue at all are never kept.
    slide_mpp
        Micrometres per level-0 pixel of all slides, instead of what they say.
    slide_mpp_csv, slide_mpp_column
        A table with one such value per slide; see `mpp_table.read_mpp_table`.
    origin
        A lattice corner, level-0 pixels: cells lie at whole steps from it.
    tissue
        How tissue is found.
    tissue_regions
        GeoJSON file of the tissue, or a folder with one per slide; nothing is then searched for.
    roi
        GeoJSON file or folder of regions: tissue outside them does not count.
    reader
        ``auto`` or the reader to insist on.
    allow_upsampling
        Accept an `mpp` finer than the slide's.
    on_bad_tile
        Where the slide cannot be decoded: ``skip`` takes it for background and counts it, ``fail`` fails the slide.
    workers
        Processes; None: one per processor.
    overwrite
        Make again what other settings made; without it that is refused.
    dask
        Address of a Dask scheduler, or a YAML file that describes a cluster: one task per slide; None: this machine.
    """

    slides: tuple[Path, ...] = Field(min_length=1)
    out: Path
    mpp: float = Field(default=0.5, gt=0)
    patch_px: int = Field(default=256, ge=1)
    overlap_px: int = Field(default=0, ge=0)
    min_tissue: float = Field(default=0.1, ge=0, le=1)
    slide_mpp: float | None = Field(default=None, gt=0)
    slide_mpp_csv: Path | None = None
    slide_mpp_column: str = "mpp"
    origin: tuple[int, int] = (0, 0)
    tissue: TissueConfig = TissueConfig()
    tissue_regions: Path | None = None
    roi: Path | None = None
    reader: Backend = "auto"
    allow_upsampling: bool = False
    on_bad_tile: Literal["skip", "fail"] = "skip"
    workers: int | None = Field(default=None, ge=1)
    overwrite: bool = False
    dask: str | None = None

    @model_validator(mode="after")
    def _overlap_is_less_than_a_patch(self) -> TileConfig:
        if self.overlap_px >= self.patch_px:
            raise ValueError(f"the overlap ({self.overlap_px}) must be smaller than the patch ({self.patch_px})")
        return self
