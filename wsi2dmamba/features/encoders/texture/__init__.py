"""The embedded encoder `texture`: a training-free descriptor of H&E patches."""

from wsi2dmamba.features.encoders.texture.encoder import TextureEncoder

__all__ = ["TextureEncoder"]
