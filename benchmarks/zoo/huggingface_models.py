"""Small models of many architectures of Hugging Face transformers, with random weights, where it is installed.

Each is built from a configuration, so nothing is downloaded.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

PREFIX = "hf/"
CLASSES = 10


@dataclass(frozen=True)
class Architecture:
    """A class of transformers, its configuration, and the inputs that it is tried on."""

    model: str
    config: dict[str, Any]
    shapes: list[tuple[int, ...]]
    """The shapes of its inputs, without the examples: two of them where the architecture allows it."""
    argument: str = "pixel_values"
    output: str = "logits"
    query: int | None = None
    """Of a detector, the query whose classes are explained."""
    fixed: dict[str, Any] = field(default_factory=dict)
    """Further arguments of the model, the same for all inputs."""

    def build(self) -> nn.Module:
        """Return the model as a function of one tensor."""
        import transformers

        model_class: Any = getattr(transformers, self.model)
        return _Logits(model_class(model_class.config_class(**self.config, num_labels=CLASSES)), self).eval()

    def inputs(self, shape: tuple[int, ...]) -> Tensor:
        """Return two random images, sounds, or ids of words."""
        if self.argument == "input_ids":
            return torch.randint(3, _VOCABULARY, (2, *shape))
        return torch.rand(2, *shape)


class _Logits(nn.Module):
    def __init__(self, model: nn.Module, architecture: Architecture) -> None:
        super().__init__()
        self.model, self.architecture = model, architecture

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits (N, C)."""
        output = self.model(**{self.architecture.argument: inputs}, **self.architecture.fixed)
        logits: Tensor = getattr(output, self.architecture.output)
        return logits if self.architecture.query is None else logits[:, self.architecture.query]


def huggingface_models() -> list[str]:
    """Return their names with the prefix, and none if transformers is not installed."""
    return [PREFIX + name for name in ARCHITECTURES] if importlib.util.find_spec("transformers") else []


_VOCABULARY = 60
_SMALL = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 40}
_IDS = {"vocab_size": _VOCABULARY, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_WORDS = {**_SMALL, **_IDS}
_VIT = {**_SMALL, "image_size": 64, "patch_size": 16}
_DINO = {**_SMALL, "image_size": 70, "patch_size": 14}
_VIDEO = {**_SMALL, "image_size": 32, "patch_size": 8, "num_frames": 6}
_SWIN = {"image_size": 64, "embed_dim": 12, "depths": [1, 1, 2], "num_heads": [1, 2, 3], "window_size": 4}
_STAGES = {"hidden_sizes": [8, 12, 20, 28], "depths": [1, 1, 1, 1]}
_PYRAMID = {**_STAGES, "num_attention_heads": [1, 2, 2, 2]}
_HIERA = {"patch_stride": [4, 4], "embed_dim": 12, "depths": [1, 1, 2, 1], "num_heads": [1, 2, 4, 8]}
_SOUND = {
    **_SMALL,
    **{"conv_dim": (16, 16), "conv_stride": (8, 8), "conv_kernel": (16, 16), "num_feat_extract_layers": 2},
    **{"num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2, "classifier_proj_size": 12},
}
_SQUARE, _WIDE = (3, 64, 64), (3, 64, 96)
_ANY_SIZE = {"interpolate_pos_encoding": True}
_PROMPTS = {"input_ids": torch.tensor([[1, 5 + i, 9, 2] for i in range(CLASSES)])}
_TWO_TOWERS = {"vision_config": _VIT, "text_config": {**_WORDS, "max_position_embeddings": 16}}

ARCHITECTURES = {
    "vit": Architecture("ViTForImageClassification", _VIT, [_SQUARE, _WIDE], fixed=_ANY_SIZE),
    "vit_patch16x8": Architecture("ViTForImageClassification", {**_VIT, "patch_size": (16, 8)}, [_SQUARE]),
    "deit": Architecture("DeiTForImageClassification", _VIT, [_SQUARE, _WIDE], fixed=_ANY_SIZE),
    "deit_distilled": Architecture("DeiTForImageClassificationWithTeacher", _VIT, [_SQUARE, _WIDE], fixed=_ANY_SIZE),
    "beit": Architecture("BeitForImageClassification", _VIT, [_SQUARE]),
    "beit_wide": Architecture("BeitForImageClassification", {**_VIT, "image_size": (64, 96)}, [_WIDE]),
    "dinov2": Architecture("Dinov2ForImageClassification", _DINO, [(3, 100, 100), (3, 98, 140)]),
    "dinov2_registers": Architecture("Dinov2WithRegistersForImageClassification", _DINO, [(3, 100, 100), (3, 98, 140)]),
    "swin": Architecture("SwinForImageClassification", _SWIN, [_SQUARE, (3, 70, 100)]),
    "swinv2": Architecture("Swinv2ForImageClassification", _SWIN, [_SQUARE, _WIDE]),
    "focalnet": Architecture(
        "FocalNetForImageClassification",
        {"image_size": 64, "embed_dim": 12, "depths": [1, 1, 1, 1]},
        [_SQUARE, _WIDE],
    ),
    "convnext": Architecture("ConvNextForImageClassification", _STAGES, [_SQUARE, _WIDE]),
    "convnextv2": Architecture("ConvNextV2ForImageClassification", _STAGES, [_SQUARE, _WIDE]),
    "resnet": Architecture(
        "ResNetForImageClassification", {**_STAGES, "embedding_size": 8, "layer_type": "basic"}, [_SQUARE, _WIDE]
    ),
    "poolformer": Architecture("PoolFormerForImageClassification", _STAGES, [_SQUARE, _WIDE]),
    "swiftformer": Architecture(
        "SwiftFormerForImageClassification",
        {"embed_dims": [8, 12, 20, 28], "depths": [1, 1, 1, 1]},
        [_SQUARE, (3, 64, 128)],
    ),
    "segformer": Architecture("SegformerForImageClassification", _PYRAMID, [_SQUARE, _WIDE]),
    "pvt": Architecture("PvtForImageClassification", {**_PYRAMID, "image_size": 64}, [_SQUARE]),
    "pvt_v2": Architecture("PvtV2ForImageClassification", {**_PYRAMID, "image_size": 64}, [_SQUARE, _WIDE]),
    "cvt": Architecture(
        "CvtForImageClassification",
        {"embed_dim": [8, 12, 24], "num_heads": [1, 2, 3], "depth": [1, 2, 3]},
        [_SQUARE, _WIDE],
    ),
    "levit": Architecture(
        "LevitForImageClassification",
        {
            "image_size": 128,
            "hidden_sizes": [16, 24, 32],
            "num_attention_heads": [2, 3, 4],
            "depths": [1, 1, 1],
            "key_dim": [8, 8, 8],
        },
        [(3, 128, 128)],
    ),
    "hiera": Architecture("HieraForImageClassification", {**_HIERA, "image_size": [64, 64]}, [_SQUARE]),
    "hiera_wide": Architecture("HieraForImageClassification", {**_HIERA, "image_size": [64, 96]}, [_WIDE]),
    "mobilevit": Architecture(
        "MobileViTForImageClassification",
        {"hidden_sizes": [24, 28, 32], "neck_hidden_sizes": [4, 8, 12, 16, 20, 24, 40]},
        [_SQUARE, (3, 64, 128)],
    ),
    "mobilevitv2": Architecture(
        "MobileViTV2ForImageClassification", {"width_multiplier": 0.5}, [(3, 128, 128), (3, 128, 192)]
    ),
    "perceiver": Architecture(
        "PerceiverForImageClassificationConvProcessing",
        {
            **{"num_latents": 16, "d_latents": 24, "d_model": 322, "num_blocks": 1, "num_self_attends_per_block": 2},
            **{"num_self_attention_heads": 2, "num_cross_attention_heads": 1},
        },
        [_SQUARE, _WIDE],
    ),
    "yolos": Architecture(
        "YolosForObjectDetection",
        {**_VIT, "image_size": [64, 64], "num_detection_tokens": 5},
        [_SQUARE, _WIDE],
        query=0,
    ),
    "clip": Architecture(
        "CLIPModel", _TWO_TOWERS, [_SQUARE, _WIDE], output="logits_per_image", fixed={**_PROMPTS, **_ANY_SIZE}
    ),
    "clip_classifier": Architecture("CLIPForImageClassification", {"vision_config": _VIT}, [_SQUARE]),
    "siglip": Architecture(
        "SiglipModel", _TWO_TOWERS, [_SQUARE, _WIDE], output="logits_per_image", fixed={**_PROMPTS, **_ANY_SIZE}
    ),
    "siglip_classifier": Architecture("SiglipForImageClassification", {"vision_config": _VIT}, [_SQUARE]),
    "videomae": Architecture("VideoMAEForVideoClassification", {**_VIDEO, "tubelet_size": 2}, [(6, 3, 32, 32)]),
    "videomae_wide": Architecture(
        "VideoMAEForVideoClassification",
        {**_VIDEO, "tubelet_size": 2, "image_size": (32, 48), "use_mean_pooling": False},
        [(6, 3, 32, 48)],
    ),
    "vivit": Architecture("VivitForVideoClassification", {**_VIDEO, "tubelet_size": [2, 8, 8]}, [(6, 3, 32, 32)]),
    "timesformer": Architecture("TimesformerForVideoClassification", _VIDEO, [(6, 3, 32, 32)]),
    "ast": Architecture(
        "ASTForAudioClassification",
        {**_SMALL, "patch_size": 16, "frequency_stride": 8, "time_stride": 10, "max_length": 100, "num_mel_bins": 32},
        [(100, 32)],
        argument="input_values",
    ),
    "wav2vec2": Architecture("Wav2Vec2ForSequenceClassification", _SOUND, [(4000,), (6000,)], argument="input_values"),
    "hubert": Architecture("HubertForSequenceClassification", _SOUND, [(4000,), (6000,)], argument="input_values"),
    "whisper": Architecture(
        "WhisperForAudioClassification",
        {
            **{"d_model": 24, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 40},
            **{"num_mel_bins": 16, "max_source_positions": 32, "vocab_size": 60, "pad_token_id": 0},
            "classifier_proj_size": 12,
        },
        [(16, 64)],
        argument="input_features",
    ),
    "bert": Architecture("BertForSequenceClassification", _WORDS, [(10,), (17,)], argument="input_ids"),
    "roberta": Architecture(
        "RobertaForSequenceClassification",
        {**_WORDS, "max_position_embeddings": 40},
        [(10,), (17,)],
        argument="input_ids",
    ),
    "distilbert": Architecture(
        "DistilBertForSequenceClassification",
        {"dim": 24, "n_layers": 3, "n_heads": 2, "hidden_dim": 40, "vocab_size": _VOCABULARY},
        [(10,), (17,)],
        argument="input_ids",
    ),
    "gpt2": Architecture(
        "GPT2ForSequenceClassification",
        {"n_embd": 24, "n_layer": 3, "n_head": 2, **_IDS},
        [(10,), (17,)],
        argument="input_ids",
    ),
    "xlnet": Architecture(
        "XLNetForSequenceClassification",
        {"d_model": 24, "n_layer": 3, "n_head": 2, "d_inner": 40, "vocab_size": _VOCABULARY},
        [(10,), (17,)],
        argument="input_ids",
    ),
}
"""By name. Sizes are small, so that numbers of channels and of positions come close to each other."""
