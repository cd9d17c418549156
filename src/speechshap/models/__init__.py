"""Backbones with Hugging Face weights, pooling, heads, and the module that trains them."""

from speechshap.models.accelerate import accelerate
from speechshap.models.backbone import Backbone
from speechshap.models.classifier import EmotionClassifier, mlp_head
from speechshap.models.emotion_module import EmotionModule
from speechshap.models.loading import build_backbone, load_backbone
from speechshap.models.pooling import masked_mean

__all__ = [
    "Backbone",
    "EmotionClassifier",
    "EmotionModule",
    "accelerate",
    "build_backbone",
    "load_backbone",
    "masked_mean",
    "mlp_head",
]
