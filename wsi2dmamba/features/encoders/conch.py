"""CONCH and CONCH v1.5: their networks come with their authors' packages, which the user installs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from wsi2dmamba.core.errors import DependencyError, EncoderError
from wsi2dmamba.features.encoders.base import Encoder, EncoderInfo, Normalisation
from wsi2dmamba.features.encoders.cards import EncoderCard
from wsi2dmamba.features.encoders.options import EncoderRequest
from wsi2dmamba.features.encoders.weights import local_or_hub_weights


class ConchEncoder(Encoder):
    """The image tower of a CONCH model, before its contrastive projection."""

    def __init__(
        self, model: nn.Module, encode: Callable[[Tensor], Tensor], info: EncoderInfo, normalisation: Normalisation
    ) -> None:
        super().__init__()
        self.model = model.eval()
        self._encode_image = encode
        self.info = info
        self.normalisation = normalisation

    def preprocess(self, patches: Tensor) -> Tensor:
        """Resize and normalise (N, H, W, 3) uint8 patches."""
        return self.normalisation(patches)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (N, dim) features of (N, 3, px, px) normalised patches."""
        return self._encode_image(inputs)


def load_conch(card: EncoderCard, request: EncoderRequest) -> ConchEncoder:
    """Load CONCH with the ``conch`` package, or CONCH v1.5 with the ``trident`` package.

    Raises
    ------
    DependencyError, EncoderError
        If the package is not installed, or the weights are not there.
    """
    weights, revision = None, ""
    if card.name == "conch":
        try:
            from conch.open_clip_custom import create_model_from_pretrained
        except ImportError as error:
            package = "pip install git+https://github.com/Mahmoodlab/CONCH"
            raise DependencyError(f"CONCH needs its authors' package; run: {package}") from error
        weights, revision = local_or_hub_weights(card.source, request.weights, request.offline)
        model, transform = create_model_from_pretrained("conch_ViT-B-16", checkpoint_path=str(weights))

        def encode(inputs: Tensor) -> Tensor:
            return model.encode_image(inputs, proj_contrast=False, normalize=False)
    else:
        try:
            from trident.patch_encoder_models import encoder_factory
        except ImportError as error:
            package = "pip install git+https://github.com/mahmoodlab/TRIDENT"
            raise DependencyError(f"CONCH v1.5 needs TRIDENT's network; run: {package}") from error
        model = encoder_factory("conch_v15", weights_path=request.weights)
        transform, revision, encode = model.eval_transforms, card.source, model.forward
    side = request.patch_px or card.patch_px or 448
    mean, std = _normalisation_of(transform, card.name)
    info = EncoderInfo(card.name, card.dim, request.mpp or card.mpp, side, revision)
    return ConchEncoder(model, encode, info, Normalisation(side, mean, std))


def _normalisation_of(transform: Any, name: str) -> tuple[Any, Any]:
    for step in getattr(transform, "transforms", ()):
        if hasattr(step, "mean") and hasattr(step, "std"):
            return tuple(float(value) for value in step.mean), tuple(float(value) for value in step.std)
    raise EncoderError(f"the package of {name} names no normalisation")
