"""The patches that the demo's slides are made of: drawn ones, or a folder of real ones, one subfolder per class."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from wsi2dmamba.core.errors import InputError
from wsi2dmamba.core.files import atomic_path, remove_partials, write_json
from wsi2dmamba.core.workers import run_tasks
from wsi2dmamba.demo.drawing import DRAWN_KINDS, draw_patch

ROLES = ("tumour", "infiltrate", "stroma", "fat", "necrosis")
"""What a class of patches can play in a slide; the first three are needed, the others are used where present."""

_NEEDED = 3
_ALIASES = {
    "tumor": "tumour",
    "tum": "tumour",
    "cancer": "tumour",
    "carcinoma": "tumour",
    "str": "stroma",
    "lymphocytes": "infiltrate",
    "lymphocyte": "infiltrate",
    "lym": "infiltrate",
    "adi": "fat",
    "adipose": "fat",
}
_SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"}


@dataclass(frozen=True)
class TileBank:
    """Patches by the role they play.

    Attributes
    ----------
    files
        For every role the image files, sorted.
    """

    files: dict[str, tuple[Path, ...]]

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles that have patches, in the order of `ROLES`."""
        return tuple(role for role in ROLES if role in self.files)

    def load(self, role: str, index: int, side_px: int) -> NDArray[np.uint8]:
        """Return patch `index` of a role as (side, side, 3) uint8 RGB, its middle square resized where needed."""
        return load_patch(self.files[role][index], side_px)


def load_patch(path: Path, side_px: int) -> NDArray[np.uint8]:
    """Return an image file's middle square as (side, side, 3) uint8 RGB.

    Raises
    ------
    InputError
        If it is no image.
    """
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise InputError(f"{path} is not an image that can be read; remove it from the folder of tiles")
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = cv2.cvtColor(image[top : top + side, left : left + side], cv2.COLOR_BGR2RGB)
    if side != side_px:
        square = cv2.resize(square, (side_px, side_px), interpolation=cv2.INTER_AREA)
    return np.asarray(square, dtype=np.uint8)


def open_tiles(folder: Path, roles: str | None = None) -> TileBank:
    """Find the patches under `folder` and decide what each class plays.

    Parameters
    ----------
    folder
        One subfolder of images per class.
    roles
        ``"tumour=adenocarcinoma,infiltrate=normal,stroma=squamous"``. Without it, classes that are named like a
        role play it; if none is, the classes in alphabetical order play tumour, infiltrate and stroma.

    Raises
    ------
    InputError
        If the folder, a class or a needed role is missing.
    """
    if not folder.is_dir():
        raise InputError(f"--tiles: {folder} is not a folder; give one with a subfolder of images per class")
    classes = {
        child.name: tuple(sorted(file for file in child.iterdir() if file.suffix.lower() in _SUFFIXES))
        for child in sorted(folder.iterdir())
        if child.is_dir() and not child.name.startswith(".")
    }
    classes = {name: files for name, files in classes.items() if files}
    played = _parse_roles(roles, classes) if roles else _guess_roles(classes)
    missing = [role for role in ROLES[:_NEEDED] if role not in played]
    if missing:
        raise InputError(
            f"--tiles: {folder} has the classes {sorted(classes) or 'none'}, nothing for {', '.join(missing)}; "
            "name them with --roles tumour=CLASS,stroma=CLASS,infiltrate=CLASS"
        )
    return TileBank({role: classes[name] for role, name in played.items()})


def _parse_roles(text: str, classes: dict[str, tuple[Path, ...]]) -> dict[str, str]:
    played = {}
    for pair in text.split(","):
        role, _, name = (part.strip() for part in pair.partition("="))
        for value, known, what in ((role, list(ROLES), "role"), (name, list(classes), "class")):
            if value not in known:
                close = difflib.get_close_matches(value, known, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
                raise InputError(f"--roles: unknown {what} {value!r} in {pair.strip()!r}; {hint}")
        played[role] = name
    return played


def _guess_roles(classes: dict[str, tuple[Path, ...]]) -> dict[str, str]:
    named = {_ALIASES.get(name.lower(), name.lower()): name for name in classes}
    by_name = {role: named[role] for role in ROLES if role in named}
    if by_name:
        return by_name
    return dict(zip(ROLES[:_NEEDED], sorted(classes), strict=False))


def draw_tiles(folder: Path, *, per_kind: int, seed: int, workers: int, side_px: int = 224) -> None:
    """Draw a bank of patches into `folder`, one subfolder per kind; a finished bank is kept.

    Parameters
    ----------
    folder
        Where to.
    per_kind
        Patches of each kind of tissue.
    seed
        The same seed draws the same patches.
    workers
        Processes.
    side_px
        Side of a patch in pixels at 0.5 µm/px.
    """
    wanted = {"seed": seed, "per_kind": per_kind, "side_px": side_px}
    tasks = [
        _DrawTask(folder / kind / f"{index:03d}.png", kind, (seed, number, index), side_px)
        for number, kind in enumerate(DRAWN_KINDS)
        for index in range(per_kind)
    ]
    for kind in DRAWN_KINDS:
        remove_partials(folder / kind)
    chunks = [tasks[start : start + 16] for start in range(0, len(tasks), 16)]
    for outcome in run_tasks(_draw, [chunk for chunk in chunks if not all(t.path.is_file() for t in chunk)], workers):
        if outcome.error is not None:
            raise outcome.error
    write_json(folder / "drawn.json", wanted)


@dataclass(frozen=True)
class _DrawTask:
    path: Path
    kind: str
    seed: tuple[int, int, int]
    side_px: int


def _draw(tasks: list[_DrawTask]) -> None:
    for task in tasks:
        image = draw_patch(task.kind, np.random.default_rng(task.seed), task.side_px)
        with atomic_path(task.path) as partial:
            cv2.imwrite(str(partial), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
