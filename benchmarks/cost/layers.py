"""Which layers of which models are measured."""

from benchmarks.common.names import LITE0

INPUT = ":input"
"""Behind the name of a module whose input is explained."""

LAYERS = {
    "resnet50": {"early": "layer1", "middle": "layer3", "late": "layer4"},
    "densenet121": {"early": "features.denseblock1", "middle": "features.denseblock3", "late": "features"},
    "mobilenet_v3_small": {"early": "features.1", "middle": "features.6", "late": "features"},
    "efficientnet_b0": {"early": "features.1", "middle": "features.4", "late": "features"},
    "convnext_tiny": {"early": "features.1", "middle": "features.3", "late": "features"},
    "vit_b_16": {
        place: f"encoder.layers.encoder_layer_{block}.ln_1"
        for place, block in (("early", 1), ("middle", 6), ("late", 11))
    },
    LITE0: {"late": f"_avg_pooling{INPUT}"},
}
"""The layers of each model: after about a tenth of it, after about half, and the last one."""
