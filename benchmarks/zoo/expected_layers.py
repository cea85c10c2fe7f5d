"""Which layer should be found for each model, and on which grid: written by hand, from how the models are built.

The layer is the last one with positions that is read as a whole. That is what goes into the global pooling, or for
models that classify by a class token what goes into the last attention.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fnmatch import fnmatchcase

Grid = tuple[int, ...]


@dataclass(frozen=True)
class Expected:
    """A layer, and how its grid follows from the input."""

    layer: str
    """The module's name, where a star may stand for a part of it; ``"refused"`` where no layer has a grid."""
    stride: int | None = None
    """Pixels of a side for each position, where the model keeps the rounded-up number of positions."""
    grids: dict[Grid, Grid] | None = None
    """The grid for each shape of the input, without examples, where that is not so."""

    def grid(self, shape: Grid) -> Grid | None:
        """Return the grid of an input of this shape, without the examples."""
        if self.grids is not None:
            return self.grids.get(shape)
        if self.stride is None:
            return None
        return tuple(math.ceil(side / self.stride) for side in shape[1:])


def expected_layer(model: str) -> Expected | None:
    """Return what is expected of a model, by the first pattern that fits its name."""
    return next((expected for pattern, expected in EXPECTED.items() if fnmatchcase(model, pattern)), None)


REFUSED = Expected("refused")
_VIT_B, _VIT_L = "encoder.layers.encoder_layer_11.ln_1", "encoder.layers.encoder_layer_23.ln_1"


def _images(*grids: Grid) -> dict[Grid, Grid]:
    return {(3, *size): grid for size, grid in zip(((128, 128), (128, 192)), grids, strict=False)}


TORCHVISION = {
    "alexnet": Expected("avgpool", grids=_images((6, 6), (6, 6))),  # pools to a fixed size
    "vgg*": Expected("avgpool", grids=_images((7, 7), (7, 7))),
    # Pools by a function, after three convolutions without padding and two more strides.
    "inception_v3": Expected("Mixed_7c", grids=_images((2, 2), (2, 4))),
    "squeezenet*": Expected("classifier.2", grids=_images((7, 7), (7, 11))),  # poolings that round up, no padding
    "googlenet": Expected("inception5b", 32),
    "shufflenet*": Expected("conv5", 32),
    "regnet*": Expected("trunk_output", 32),
    "mnasnet*": Expected("layers", 32),
    "maxvit_t": Expected("blocks.3", 32),
    "swin*": Expected("permute", 32),
    "vit_b_16": Expected(_VIT_B, 16),
    "vit_b_32": Expected(_VIT_B, 32),
    "vit_l_16": Expected(_VIT_L, 16),
    "vit_l_32": Expected(_VIT_L, 32),
    "vit_h_14": Expected("encoder.layers.encoder_layer_31.ln_1", 14),
    "resnet*": Expected("layer4", 32),
    "resnext*": Expected("layer4", 32),
    "wide_resnet*": Expected("layer4", 32),
    "convnext*": Expected("features", 32),
    "densenet*": Expected("features", 32),
    "efficientnet*": Expected("features", 32),
    "mobilenet*": Expected("features", 32),
}
"""Most end with a pooling of what one module puts out, after five halvings."""

TIMM = {
    "timm/cait_xxs24_224": Expected("blocks_token_only.1.norm1", 16),
    "timm/coat_tiny": REFUSED,  # mixes the class tokens of three scales
    "timm/convit_tiny": Expected("blocks.11.norm1", 16),
    "timm/convmixer_768_32": Expected("blocks", grids=_images((18, 18), (18, 27))),  # patches of 7, rounded down
    "timm/convnext_tiny": Expected("norm_pre", 32),  # an identity behind the stages
    "timm/cpubone_nano": Expected("head.in_conv", 32),
    # Two branches; the last attention reads the patches of 12 pixels of an image that is resized to 240.
    "timm/crossvit_tiny_240": Expected("blocks.2.fusion.1.norm1", grids=_images((20, 20), (20, 20))),
    "timm/cs3darknet_focus_s": Expected("stages", 32),
    "timm/davit_tiny": Expected("norm_pre", 32),
    "timm/deit_tiny_patch16_224": Expected("blocks.11.norm1", 16),
    "timm/dla34": Expected("level5", 32),
    "timm/eca_botnext26ts_256": Expected("final_conv", 32),
    "timm/edgenext_xx_small": Expected("norm_pre", 32),
    "timm/efficientformer_l1": Expected("norm", 32),  # tokens at the end
    "timm/efficientformerv2_s0": Expected("norm", 32),
    "timm/efficientvim_m1": Expected("norm.3", 64),
    "timm/efficientvit_b0": Expected("head.in_conv", 32),
    "timm/efficientvit_m0": Expected("stages", 64),
    "timm/eva02_tiny_patch14_224": Expected("norm", 14),  # pools its patches
    "timm/fasternet_t0": Expected("stages", 32),
    "timm/fastvit_t8": Expected("final_conv", 32),
    "timm/focalnet_tiny_srf": Expected("norm", 32),
    "timm/gcvit_xxtiny": Expected("stages", 32),
    "timm/gernet_s": Expected("final_conv", 32),
    "timm/gmlp_ti16_224": Expected("norm", 16),
    "timm/hiera_tiny_224": Expected("blocks.11", 32),
    "timm/hrnet_w18_small": Expected("final_layer", 32),
    "timm/iformer_t": Expected("stages", 32),
    "timm/inception_next_atto": Expected("stages", 32),
    "timm/levit_128s": Expected("stages", 64),
    "timm/lowformer_b0": Expected("in_conv", 32),
    "timm/mambaout_femto": Expected("stages", 32),
    "timm/maxvit_tiny_rw_224": Expected("norm", 32),
    "timm/mnasnet_small": Expected("bn2", 32),
    "timm/mobilenetv3_small_050": Expected("blocks", 32),  # pools before its last convolution
    "timm/mobilevit_xxs": Expected("final_conv", 32),
    "timm/mvitv2_tiny": Expected("norm", 32),
    "timm/nest_tiny": Expected("global_pool.pool:input", 16),
    "timm/nextvit_small": Expected("norm", 32),
    "timm/nf_regnet_b0": Expected("final_act", 32),
    "timm/pit_ti_224": Expected("transformers.2.blocks.*.norm1", 32),
    "timm/poolformer_s12": Expected("stages", 32),
    "timm/pvt_v2_b0": Expected("stages", 32),
    "timm/regnetx_004_tv": Expected("final_conv", 32),
    "timm/repvit_m1": Expected("stages", 32),
    "timm/resnest14d": Expected("layer4", 32),
    "timm/rexnet_100": Expected("features", 32),
    # Patches of 7 pixels, rounded down, and one merging of two.
    "timm/sequencer2d_s": Expected("norm", grids=_images((9, 9), (9, 13))),
    "timm/shvit_s1": Expected("stages", 64),
    "timm/starnet_s050": Expected("norm", 32),
    "timm/swiftformer_xs": Expected("norm", 32),
    "timm/swin_tiny_patch4_window7_224": Expected("norm", 32),
    "timm/swinv2_cr_tiny_224": Expected("stages", 32),
    "timm/swinv2_tiny_window8_256": Expected("norm", 32),
    "timm/test_vit_relpos": Expected("norm", 16),  # pools its patches
    "timm/tiny_vit_5m_224": Expected("stages", 32),
    "timm/tnt_s_legacy_patch16_224": Expected("blocks.11.norm_out", 16),
    "timm/twins_svt_small": Expected("norm", 32),
    "timm/visformer_tiny": Expected("norm", 32),
    "timm/vit_tiny_patch16_224": Expected("blocks.11.norm1", 16),
    "timm/vit_tiny_r_s16_p8_224": Expected("blocks.11.norm1", 32),  # a convolutional stem before the patches
    "timm/vitamin_small_224": Expected("norm", 16),
    # Adds the strongest class of any patch to those of the class token.
    "timm/volo_d1_224": Expected("norm", 16),
    "timm/xception41p": Expected("act", 32),
    "timm/xcit_tiny_12_p8_224": Expected("cls_attn_blocks.1.norm1", 8),
}

HUGGINGFACE = {
    "hf/vit": Expected("*.layers.2.layernorm_before", 16),
    "hf/vit_patch16x8": Expected("*.layers.2.layernorm_before", grids={(3, 64, 64): (4, 8)}),
    "hf/deit*": Expected("*.layers.2.layernorm_before", 16),
    "hf/beit*": Expected("*.beit.layernorm", 16),  # pools its patches
    # Classifies by the class token and the mean of the patches. Incomplete patches are cut off.
    "hf/dinov2*": Expected("*.layernorm", grids={(3, 100, 100): (7, 7), (3, 98, 140): (7, 10)}),
    "hf/swin": Expected("*.swin.layernorm", 16),
    "hf/swinv2": Expected("*.swinv2.layernorm", 16),
    "hf/focalnet": Expected("*.focalnet.layernorm", 32),
    "hf/convnext*": Expected("*.encoder.stages.3", 32),
    "hf/resnet": Expected("*.encoder.stages.3", 32),
    "hf/poolformer": Expected("*.norm", 32),
    "hf/swiftformer": Expected("*.norm", 32),
    "hf/segformer": Expected("*.stages.3", 32),
    "hf/pvt": Expected("*.encoder.block.3.0.layer_norm_1", 32),  # a class token at the last stage
    "hf/pvt_v2": Expected("*.encoder.layers.3.layer_norm", 32),
    "hf/cvt": Expected("*.stages.2.layers.2.layernorm_before", 16),
    "hf/levit": Expected("*.encoder.stages.2", 64),
    "hf/hiera*": Expected("*.pooler:input", 32),
    "hf/mobilevit": Expected("*.conv_1x1_exp", 32),
    "hf/mobilevitv2": Expected("*.encoder.layer.4", 32),
    "hf/perceiver": REFUSED,  # latents have no positions
    "hf/xlnet": REFUSED,  # tokens before examples
    "hf/yolos": Expected("*.layer.2.layernorm_before", 16),
    "hf/clip": Expected("model.vision_model.*.layers.2.layer_norm1", 16),
    "hf/clip_classifier": Expected("model.vision_model.encoder.layers.2", 16),  # pools its patches
    "hf/siglip*": Expected("model.vision_model.post_layernorm", 16),
    "hf/videomae": Expected("*.encoder.layer.2", grids={(6, 3, 32, 32): (3, 4, 4)}),  # pools all its patches
    "hf/videomae_wide": Expected("*.layer.2.layernorm_before", grids={(6, 3, 32, 48): (3, 4, 6)}),
    "hf/vivit": Expected("*.layers.2.layernorm_before", grids={(6, 3, 32, 32): (3, 4, 4)}),
    # Attention over time and over space by turns: the patches of a frame come before the frames.
    "hf/timesformer": Expected("*.encoder.layer.2:input", grids={(6, 3, 32, 32): (4, 4, 6)}),
    # Patches of 16 x 16, frequencies before times, which overlap: every 8 and every 10.
    "hf/ast": Expected("*.layers.2.layernorm_before", grids={(100, 32): (3, 9)}),
    # Two convolutions of 16 samples, every 8, without padding.
    "hf/wav2vec2": Expected("*.encoder.layers.2", grids={(4000,): (61,), (6000,): (92,)}),
    "hf/hubert": Expected("*.encoder.layers.2", grids={(4000,): (61,), (6000,): (92,)}),
    "hf/whisper": Expected("*.encoder.layer_norm", grids={(16, 64): (32,)}),
    # The normalization comes last in a layer of these, so the last attention reads what the layer before puts out.
    "hf/bert": Expected("*.encoder.layer.1", grids={(10,): (10,), (17,): (17,)}),
    "hf/roberta": Expected("*.encoder.layer.1", grids={(10,): (10,), (17,): (17,)}),
    "hf/distilbert": Expected("*.transformer.layer.1", grids={(10,): (10,), (17,): (17,)}),
    "hf/gpt2": Expected("*.h.2.ln_1", grids={(10,): (10,), (17,): (17,)}),
}

EXPECTED = {**TORCHVISION, **TIMM, **HUGGINGFACE}
