"""The backbone as a patch encoder: ``2dvmamba:SIZE`` with ``--weights``, or ``2dvmamba:FILE_OR_RUN``."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from wsi2dmamba.core.errors import EncoderError
from wsi2dmamba.features.encoders.base import IMAGENET_MEAN, IMAGENET_STD, Encoder, EncoderInfo, Normalisation
from wsi2dmamba.features.encoders.fingerprint import file_revision
from wsi2dmamba.features.encoders.names import folder_name
from wsi2dmamba.features.encoders.options import EncoderRequest
from wsi2dmamba.features.encoders.weights import load_strictly
from wsi2dmamba.models.vision.backbone import ImageBackbone
from wsi2dmamba.models.vision.checkpoint import WEIGHTS, InputFormat, describes_itself, from_file
from wsi2dmamba.models.vision.config import CONFIGS

_PUBLISHED_INPUT = InputFormat(px=224, mean=IMAGENET_MEAN, std=IMAGENET_STD)


class VisionEncoder(Encoder):
    """The pooled features of an `ImageBackbone`.

    Parameters
    ----------
    model
        Its head, if any, is not used.
    info, images
        What it is, and how patches are fed to it.
    """

    def __init__(self, model: ImageBackbone, info: EncoderInfo, images: InputFormat) -> None:
        super().__init__()
        self.model = model
        self.info = info
        self.normalisation = Normalisation(images.px, images.mean, images.std)

    def preprocess(self, patches: Tensor) -> Tensor:
        """Resize and normalise (N, H, W, 3) uint8 patches as in training."""
        return self.normalisation(patches)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (N, dim) features of (N, 3, px, px) normalised patches."""
        return self.model.features(inputs)


def load_vision_encoder(rest: str, request: EncoderRequest) -> VisionEncoder:
    """Load what stands behind ``2dvmamba:``.

    Parameters
    ----------
    rest
        A size (``tiny``, ``small``, …), whose weights `request` names; or a file, fold or run of
        `wsi2dmamba train-tiles`.
    request
        Weights, side and resolution.

    Raises
    ------
    EncoderError
        If weights are missing or do not fit, or the run has several folds.
    CheckpointError
        If the checkpoint cannot be read.
    """
    if request.pooling not in (None, "mean"):
        raise EncoderError(f"2dvmamba has no tokens for --pooling {request.pooling}; it averages its last map (mean)")
    if rest in CONFIGS:
        model, images, file = _named(rest, request.weights)
        name = f"2dvmamba-{rest}"
    else:
        if request.weights is not None:
            raise EncoderError(f"2dvmamba:{rest} brings its own weights; leave --weights out, or name a size")
        file = _checkpoint_file(Path(rest))
        checkpoint = from_file(file)
        model, images = checkpoint.model, checkpoint.input
        name = f"2dvmamba-{_short_name(file)}"
    changed = {"px": request.patch_px or images.px, "mpp": request.mpp or images.mpp}
    images = images.model_copy(update=changed)
    info = EncoderInfo(name, model.config.features, images.mpp, images.px, file_revision(file))
    return VisionEncoder(model.eval(), info, images)


def _named(size: str, weights: str | None) -> tuple[ImageBackbone, InputFormat, Path]:
    if weights is None:
        raise EncoderError(
            f"2dvmamba:{size} needs --weights FILE: no weights are published in a form that loads here; train your own "
            "with `wsi2dmamba train-tiles`"
        )
    file = Path(weights) / WEIGHTS if Path(weights).is_dir() else Path(weights)
    if not file.is_file():
        raise EncoderError(f"the weights {file} do not exist")
    model = ImageBackbone(CONFIGS[size])
    load_strictly(model, file, f"2dvmamba:{size}")
    # Weights trained here say how they want their pixels; bare ones are taken to be ImageNet's.
    return model, from_file(file).input if describes_itself(file) else _PUBLISHED_INPUT, file


def _checkpoint_file(path: Path) -> Path:
    if not path.exists():
        raise EncoderError(f"2dvmamba:{path}: neither a size ({', '.join(CONFIGS)}) nor a file or run folder")
    if path.is_file() or (path / WEIGHTS).is_file():
        return path / WEIGHTS if path.is_dir() else path
    folds = sorted(path.glob(f"fold-*/{WEIGHTS}"))
    if not folds:
        raise EncoderError(f"2dvmamba:{path}: no {WEIGHTS} there, and no finished fold; is the training done?")
    if len(folds) > 1:
        raise EncoderError(f"2dvmamba:{path} has {len(folds)} folds; name one, e.g. 2dvmamba:{folds[0].parent}")
    return folds[0]


def _short_name(file: Path) -> str:
    if file.name != WEIGHTS:
        return folder_name(file.with_suffix("").name)
    folder = file.resolve().parent
    parts = (folder.parent.name, folder.name) if folder.name.startswith("fold-") else (folder.name,)
    return folder_name("-".join(parts))
