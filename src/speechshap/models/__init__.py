"""Backbones with Hugging Face weights, pooling, heads, and the classifier that they make."""

from speechshap.models.accelerate import accelerate
from speechshap.models.backbone import Backbone
from speechshap.models.classifier import EmotionClassifier, mlp_head
from speechshap.models.loading import build_backbone, load_backbone
from speechshap.models.pooling import masked_mean

__all__ = [
    "Backbone",
    "EmotionClassifier",
    "accelerate",
    "build_backbone",
    "load_backbone",
    "masked_mean",
    "mlp_head",
]
