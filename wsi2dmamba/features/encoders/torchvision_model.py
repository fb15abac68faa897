"""ImageNet's ResNet-50 from torchvision, whole or cut after its third stage as CLAM and TRIDENT use it."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from wsi2dmamba.core.errors import DependencyError, EncoderError
from wsi2dmamba.features.encoders.base import Encoder, EncoderInfo, Normalisation
from wsi2dmamba.features.encoders.cards import EncoderCard
from wsi2dmamba.features.encoders.fingerprint import file_revision
from wsi2dmamba.features.encoders.options import EncoderRequest
from wsi2dmamba.features.encoders.weights import load_strictly


class ResNetEncoder(Encoder):
    """A ResNet's average-pooled maps after `last` (``layer3`` or ``layer4``)."""

    def __init__(self, network: nn.Module, info: EncoderInfo, normalisation: Normalisation, last: str) -> None:
        super().__init__()
        children = dict(network.named_children())
        names = list(children)
        kept = names[: names.index(last) + 1]
        self.stages = nn.Sequential(*(children[name] for name in kept))
        self.info = info
        self.normalisation = normalisation

    def preprocess(self, patches: Tensor) -> Tensor:
        """Resize and normalise (N, H, W, 3) uint8 patches."""
        return self.normalisation(patches)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (N, dim) features of (N, 3, px, px) normalised patches."""
        return self.stages(inputs).mean((2, 3))


def load_resnet50(card: EncoderCard, request: EncoderRequest) -> ResNetEncoder:
    """Load torchvision's ResNet-50.

    Raises
    ------
    DependencyError, EncoderError
        If torchvision is not installed, or the weights are not there.
    """
    try:
        from torchvision.models import ResNet50_Weights, resnet50
    except ImportError as error:
        raise DependencyError("ResNet-50 needs torchvision; run: pip install 'wsi2dmamba[encoders]'") from error
    network = resnet50(weights=None)
    url = ResNet50_Weights[card.source].url
    path = Path(request.weights) if request.weights else Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name
    if not path.is_file():
        if request.offline or request.weights:
            raise EncoderError(f"the weights {path} do not exist; download {url} there")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), progress=False)
        except OSError as error:
            raise EncoderError(f"{url} cannot be downloaded ({error}); give --weights FILE") from error
    load_strictly(network, path, card.name)
    if card.normalisation is None or card.patch_px is None:
        raise EncoderError(f"the card of {card.name} names no normalisation")
    side = request.patch_px or card.patch_px
    info = EncoderInfo(card.name, card.dim, request.mpp or card.mpp, side, file_revision(path))
    return ResNetEncoder(network, info, Normalisation(side, *card.normalisation), card.architecture)
