"""The names of what is measured: jobs, models and their layers. Nothing here takes time to import."""

from __future__ import annotations

from benchmarks.common.names import DIFF, GRAD_CAM, LITE0, MOBILENET

MAP, EXPLAIN, RIVALS, LAYERS = "map", "explain", "rivals", "layers"
JOBS = {
    MAP: "a map of a given class",
    EXPLAIN: "the prediction and its map",
    RIVALS: "the prediction and a map against each of its five strongest rivals",
    LAYERS: "the prediction and its maps at three layers",
}
FORWARD = "forward"
EARLIEST = f"{DIFF}, first"
"""The earliest of the three layers alone, which three layers are compared with."""
STRONGEST = 5
"""The number of rivals in the job with rivals."""

INPUT = ":input"
"""Follows the name of a module whose input is explained."""
MODEL_LAYERS = {
    "resnet50": {"early": "layer1", "middle": "layer3", "late": "layer4"},
    "densenet121": {"early": "features.denseblock1", "middle": "features.denseblock3", "late": "features"},
    "mobilenet_v3_small": {"early": "features.1", "middle": "features.6", "late": "features"},
    MOBILENET: {"early": "features.2", "middle": "features.10", "late": "features"},
    "efficientnet_b0": {"early": "features.1", "middle": "features.4", "late": "features"},
    "convnext_tiny": {"early": "features.1", "middle": "features.3", "late": "features"},
    "vit_b_16": {
        place: f"encoder.layers.encoder_layer_{block}.ln_1"
        for place, block in (("early", 1), ("middle", 6), ("late", 11))
    },
    LITE0: {"late": f"_avg_pooling{INPUT}"},
}
"""Layers of each model: after about a tenth of the model, after about half, and the last one."""
SMALL_MODEL = "mobilenet_v3_small"
"""The model in which the fixed cost of a call weighs most."""


def is_measured(method: str, job: str, *, at_input: bool = False) -> bool:
    """Return whether a method can do the job.

    The other libraries cannot explain the input of a layer. pytorch-grad-cam runs the model anew for every map, so its
    time for six maps is known from that for one.
    """
    if at_input:
        return method in (FORWARD, GRAD_CAM, DIFF)
    if method == EARLIEST:
        return job == LAYERS
    if job == RIVALS and method == "pytorch-grad-cam":
        return False
    # DiffGradCAM++ differs from DiffGradCAM in the weights alone.
    return job == MAP or not method.endswith("++")


def is_slow(method: str, job: str) -> bool:
    """Return whether the method takes so much longer than a forward pass that one turn is enough."""
    return method == "pytorch-grad-cam" or (method == GRAD_CAM and job != MAP)
