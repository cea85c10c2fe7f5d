"""Small models of many architectures of Hugging Face transformers, with random weights, if it is installed.

Each is built from a configuration, so nothing is downloaded. Sizes are small, and no number of channels equals a number
of positions by design: what the library finds it must find from the run.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

PREFIX = "hf/"
_SMALL = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 40}
_TEXT = {**_SMALL, "vocab_size": 60, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_CLASSES = 10


class Logits(nn.Module):
    """A model of transformers as a function of one tensor: its logits."""

    def __init__(self, model: nn.Module, argument: str, output: str = "logits", **fixed: Any) -> None:
        super().__init__()
        self.model, self.argument, self.output, self.fixed = model, argument, output, fixed

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits (N, C)."""
        logits: Tensor = getattr(self.model(**{self.argument: inputs}, **self.fixed), self.output)
        return logits


def _images(task: str, *sizes: tuple[int, int], fixed: dict[str, Any] | None = None, **config: Any) -> _Model:
    return _Model(task, "pixel_values", [(3, *size) for size in sizes], config, fixed or {})


class _Model:
    """A class of transformers, its configuration and the shapes of its inputs."""

    def __init__(
        self, task: str, argument: str, shapes: list[tuple[int, ...]], config: dict[str, Any], fixed: dict[str, Any]
    ) -> None:
        self.task, self.argument, self.shapes, self.config, self.fixed = task, argument, shapes, config, fixed

    def build(self) -> nn.Module:
        import transformers

        model_class: Any = getattr(transformers, self.task)
        config = self.config
        if "vision_config" in config and "text_config" not in config:
            config = {**config, "text_config": {**_TEXT, "max_position_embeddings": 16}}
        model = model_class(model_class.config_class(**config, num_labels=_CLASSES)).eval()
        output = "logits_per_image" if "vision_config" in config else "logits"
        return Logits(model, self.argument, output, **self.fixed)


_SQUARE, _WIDE = (64, 64), (64, 96)
_PROMPTS = {"input_ids": torch.tensor([[1, 5 + i, 9, 2] for i in range(_CLASSES)])}
_VISION = {**_SMALL, "image_size": 64, "patch_size": 16}
_STAGES = {"num_labels": _CLASSES}

MODELS: dict[str, _Model] = {
    "vit": _images("ViTForImageClassification", _SQUARE, _WIDE, fixed={"interpolate_pos_encoding": True}, **_VISION),
    "vit_patch16x8": _images(
        "ViTForImageClassification", (64, 64), **{**_VISION, "patch_size": (16, 8)}
    ),
    "deit": _images("DeiTForImageClassification", _SQUARE, _WIDE, fixed={"interpolate_pos_encoding": True}, **_VISION),
    "deit_distilled": _images(
        "DeiTForImageClassificationWithTeacher", _SQUARE, _WIDE, fixed={"interpolate_pos_encoding": True}, **_VISION
    ),
    "beit": _images("BeitForImageClassification", _SQUARE, **_VISION),
    "beit_wide": _images("BeitForImageClassification", _WIDE, **{**_VISION, "image_size": (64, 96)}),
    "swin": _images(
        "SwinForImageClassification", _SQUARE, (70, 100), image_size=64, embed_dim=12, depths=[1, 1, 2], num_heads=[1, 2, 3], window_size=4
    ),
    "swinv2": _images(
        "Swinv2ForImageClassification", _SQUARE, (64, 96), image_size=64, embed_dim=12, depths=[1, 1, 2], num_heads=[1, 2, 3], window_size=4
    ),
    "convnext": _images("ConvNextForImageClassification", _SQUARE, _WIDE, hidden_sizes=[8, 12, 20, 28], depths=[1, 1, 1, 1]),
    "convnextv2": _images("ConvNextV2ForImageClassification", _SQUARE, _WIDE, hidden_sizes=[8, 12, 20, 28], depths=[1, 1, 1, 1]),
    "dinov2": _images("Dinov2ForImageClassification", (70, 70), (100, 100), (98, 140), **{**_VISION, "image_size": 70, "patch_size": 14}),
    "dinov2_registers": _images(
        "Dinov2WithRegistersForImageClassification", (70, 70), (98, 140), **{**_VISION, "image_size": 70, "patch_size": 14}
    ),
    "segformer": _images(
        "SegformerForImageClassification", _SQUARE, _WIDE, hidden_sizes=[8, 12, 20, 28], depths=[1, 1, 1, 1], num_attention_heads=[1, 2, 2, 2]
    ),
    "mobilevit": _images("MobileViTForImageClassification", (64, 64), (64, 128), hidden_sizes=[24, 28, 32], neck_hidden_sizes=[4, 8, 12, 16, 20, 24, 40]),
    "mobilevitv2": _images("MobileViTV2ForImageClassification", (64, 64), (64, 128), width_multiplier=0.5),
    "pvt": _images("PvtForImageClassification", _SQUARE, image_size=64, hidden_sizes=[8, 12, 20, 28], depths=[1, 1, 1, 1], num_attention_heads=[1, 2, 2, 2]),
    "pvt_v2": _images("PvtV2ForImageClassification", _SQUARE, _WIDE, image_size=64, hidden_sizes=[8, 12, 20, 28], depths=[1, 1, 1, 1], num_attention_heads=[1, 2, 2, 2]),
    "levit": _images("LevitForImageClassification", (128, 128), image_size=128, hidden_sizes=[16, 24, 32], num_attention_heads=[2, 3, 4], depths=[1, 1, 1], key_dim=[8, 8, 8]),
    "hiera": _images("HieraForImageClassification", (64, 64), image_size=[64, 64], patch_size=[7, 7], patch_stride=[4, 4], patch_padding=[3, 3], embed_dim=12, depths=[1, 1, 2, 1], num_heads=[1, 2, 4, 8], masked_unit_size=[8, 8]),
    "hiera_wide": _images("HieraForImageClassification", (64, 96), image_size=[64, 96], patch_size=[7, 7], patch_stride=[4, 4], patch_padding=[3, 3], embed_dim=12, depths=[1, 1, 2, 1], num_heads=[1, 2, 4, 8], masked_unit_size=[8, 8]),
    "cvt": _images("CvtForImageClassification", _SQUARE, _WIDE, embed_dim=[8, 12, 20], num_heads=[1, 2, 2], depth=[1, 1, 2]),
    "poolformer": _images("PoolFormerForImageClassification", _SQUARE, _WIDE, hidden_sizes=[8, 12, 20, 28], depths=[1, 1, 1, 1]),
    "focalnet": _images("FocalNetForImageClassification", _SQUARE, _WIDE, image_size=64, embed_dim=12, depths=[1, 1, 1, 1]),
    "resnet": _images("ResNetForImageClassification", _SQUARE, _WIDE, embedding_size=8, hidden_sizes=[8, 12, 20, 28], depths=[1, 1, 1, 1], layer_type="basic"),
    "efficientnet": _images("EfficientNetForImageClassification", _SQUARE, _WIDE, width_coefficient=0.25, depth_coefficient=0.2, hidden_dim=40),
    "efficientformer_style_swiftformer": _images("SwiftFormerForImageClassification", _SQUARE, (64, 128), embed_dims=[8, 12, 20, 28], depths=[1, 1, 1, 1]),
    "perceiver_conv": _images("PerceiverForImageClassificationConvProcessing", (64, 64), num_latents=16, d_latents=24, d_model=322, num_blocks=1, num_self_attends_per_block=2, num_self_attention_heads=2, num_cross_attention_heads=1),
    "yolos": _images("YolosForObjectDetection", (64, 64), **{**_VISION, "image_size": [64, 64], "num_detection_tokens": 5}),
    "clip": _images("CLIPModel", _SQUARE, _WIDE, fixed={**_PROMPTS, "interpolate_pos_encoding": True}, vision_config=_VISION, projection_dim=16),
    "clip_classifier": _images("CLIPForImageClassification", _SQUARE, vision_config=_VISION),
    "siglip": _images("SiglipModel", _SQUARE, _WIDE, fixed={**_PROMPTS, "interpolate_pos_encoding": True}, vision_config=_VISION),
    "siglip_classifier": _images("SiglipForImageClassification", _SQUARE, vision_config=_VISION),
    "videomae": _Model("VideoMAEForVideoClassification", "pixel_values", [(6, 3, 32, 32)], {**_SMALL, "image_size": 32, "patch_size": 8, "num_frames": 6, "tubelet_size": 2}, {}),
    "videomae_cls_off": _Model("VideoMAEForVideoClassification", "pixel_values", [(6, 3, 32, 48)], {**_SMALL, "image_size": (32, 48), "patch_size": 8, "num_frames": 6, "tubelet_size": 2, "use_mean_pooling": False}, {}),
    "vivit": _Model("VivitForVideoClassification", "pixel_values", [(6, 3, 32, 32), (6, 3, 32, 48)], {**_SMALL, "image_size": 32, "tubelet_size": [2, 8, 8], "num_frames": 6}, {"interpolate_pos_encoding": True}),
    "timesformer": _Model("TimesformerForVideoClassification", "pixel_values", [(4, 3, 32, 32)], {**_SMALL, "image_size": 32, "patch_size": 8, "num_frames": 4}, {}),
    "ast": _Model("ASTForAudioClassification", "input_values", [(100, 32)], {**_SMALL, "patch_size": 16, "frequency_stride": 8, "time_stride": 10, "max_length": 100, "num_mel_bins": 32}, {}),
    "wav2vec2": _Model("Wav2Vec2ForSequenceClassification", "input_values", [(4000,), (6000,)], {**_SMALL, "conv_dim": (16, 16), "conv_stride": (8, 8), "conv_kernel": (16, 16), "num_feat_extract_layers": 2, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2, "classifier_proj_size": 12}, {}),
    "hubert": _Model("HubertForSequenceClassification", "input_values", [(4000,), (6000,)], {**_SMALL, "conv_dim": (16, 16), "conv_stride": (8, 8), "conv_kernel": (16, 16), "num_feat_extract_layers": 2, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2, "classifier_proj_size": 12}, {}),
    "whisper": _Model("WhisperForAudioClassification", "input_features", [(16, 64)], {"d_model": 24, "encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 40, "decoder_ffn_dim": 40, "num_mel_bins": 16, "max_source_positions": 32, "vocab_size": 60, "pad_token_id": 0, "classifier_proj_size": 12}, {}),
    "bert": _Model("BertForSequenceClassification", "input_ids", [(10,), (17,)], _TEXT, {}),
    "roberta": _Model("RobertaForSequenceClassification", "input_ids", [(10,), (17,)], {**_TEXT, "max_position_embeddings": 40}, {}),
    "distilbert": _Model("DistilBertForSequenceClassification", "input_ids", [(10,), (17,)], {"dim": 24, "n_layers": 3, "n_heads": 2, "hidden_dim": 40, "vocab_size": 60}, {}),
    "gpt2": _Model("GPT2ForSequenceClassification", "input_ids", [(10,), (17,)], {"n_embd": 24, "n_layer": 3, "n_head": 2, "vocab_size": 60, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}, {}),
    "xlnet": _Model("XLNetForSequenceClassification", "input_ids", [(10,)], {"d_model": 24, "n_layer": 3, "n_head": 2, "d_inner": 40, "vocab_size": 60}, {}),
}
