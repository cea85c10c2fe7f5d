"""Which layer is explained where none is named."""

from __future__ import annotations

import pytest
import torch
import torchvision
from small_models import SMALL

from benchmarks.common.layers import choose_layer
from benchmarks.common.models import blank_input, load_classifier
from benchmarks.common.names import LITE0
from benchmarks.common.options import UsageError


def default_layer(name):
    # Layers are found by shapes alone, which models without memory have too.
    with torch.device("meta"):
        model = torchvision.models.get_model(name).eval()
        return choose_layer(model, torch.zeros(1, 3, 224, 224)).name


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("resnet50", "layer4"),
        ("densenet121", "features"),
        ("mobilenet_v3_small", "features"),
        ("squeezenet1_1", "classifier.2"),
        ("convnext_tiny", "features"),
        ("swin_t", "permute"),
        ("vgg11", "avgpool"),
        (SMALL, "conv5"),
    ],
)
def test_the_default_layer(name, layer):
    assert default_layer(name) == layer


def test_the_default_layer_is_rectified_where_a_module_is_used_twice():
    classifier = load_classifier(LITE0, None, torch.device("cpu"))
    layer = choose_layer(classifier.model, blank_input(classifier.preprocess))
    assert (layer.name, layer.attribute_to_layer_input) == ("_avg_pooling:input", True)


def test_layers_of_tokens():
    model = torchvision.models.VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=5).eval()
    layer = choose_layer(model, torch.rand(1, 3, 32, 32), tokens=True)
    assert (layer.name, layer.layout) == ("encoder.layers.encoder_layer_1.ln_1", "vit")
    assert choose_layer(model, torch.rand(1, 3, 32, 32), layer.name, tokens=True) == layer
    with pytest.raises(UsageError, match=r"--layer.*ln_1"):
        choose_layer(model, torch.rand(1, 3, 32, 32))
