"""Patch encoders behind one interface: the embedded `texture`, transformers models, compiled programs, your own."""

from wsi2dmamba.features.encoders.base import Encoder, EncoderInfo, Normalisation
from wsi2dmamba.features.encoders.loading import load_encoder
from wsi2dmamba.features.encoders.options import EncoderRequest

__all__ = ["Encoder", "EncoderInfo", "EncoderRequest", "Normalisation", "load_encoder"]
