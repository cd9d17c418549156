"""Backbones with Hugging Face weights, pooling, heads, and the classifiers that they make."""

from speechshap.models.accelerate import accelerate
from speechshap.models.backbone import Backbone, Padding
from speechshap.models.backbones import BACKBONES, wrap_backbone
from speechshap.models.classifier import EmotionClassifier
from speechshap.models.features import Features
from speechshap.models.heads import mlp_head
from speechshap.models.loading import build_backbone, load_backbone
from speechshap.models.plain import PlainClassifier
from speechshap.models.pooling import Pooling, PoolingName, masked_mean
from speechshap.models.pretrained import from_transformers, load_classifier
from speechshap.models.protocols import SpeechClassifier
from speechshap.models.standardization import Standardization
from speechshap.models.wav2vec2 import Wav2Vec2Backbone
from speechshap.models.whisper import WhisperBackbone

__all__ = [
    "BACKBONES",
    "Backbone",
    "EmotionClassifier",
    "Features",
    "Padding",
    "PlainClassifier",
    "Pooling",
    "PoolingName",
    "SpeechClassifier",
    "Standardization",
    "Wav2Vec2Backbone",
    "WhisperBackbone",
    "accelerate",
    "build_backbone",
    "from_transformers",
    "load_backbone",
    "load_classifier",
    "masked_mean",
    "mlp_head",
    "wrap_backbone",
]
