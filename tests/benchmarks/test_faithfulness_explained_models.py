"""The models and images that are explained."""

from __future__ import annotations

from pathlib import Path

import torch
from nets import conv_net
from torch import nn

from benchmarks.__main__ import parse
from benchmarks.common.glyphs import draw_scenes
from benchmarks.common.layers import choose_layer
from benchmarks.faithfulness import explained_models
from benchmarks.faithfulness.explained_models import as_output
from captum_diffcam import LayerDiffGradCam


class Reused(nn.Module):
    """Its last feature map is the output of a module that runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3)
        self.relu, self.pool, self.head = nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Linear(5, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.pool(self.relu(self.second(self.relu(self.first(x))))).flatten(1))


def test_scenes_of_a_chunk_depend_on_the_chunk_alone(tmp_path):
    one, other = (explained_models.glyph_subjects(5, seed, (10, 10), tmp_path, torch.device("cpu")) for seed in (0, 1))
    located, single, double = one
    assert [(s.study, s.name) for s in one] == [
        ("localization", "5 classes, 2 objects"),
        ("prediction", "5 classes, 1 object"),
        ("prediction", "5 classes, 2 objects"),
    ]
    first = located.images(0, 3)
    assert torch.equal(located.images(0, 3).inputs, first.inputs)
    assert first.masks.shape == (3, 2, 56, 56)
    assert single.images(0, 3).labels.shape == (3, 1)
    different = [located.images(3, 6), double.images(0, 3), other[0].images(0, 3)]
    trained = [draw_scenes(5, 3, seed, 2).images for seed in range(3)]
    for images in [*(scenes.inputs for scenes in different), *trained]:
        assert not torch.equal(images, first.inputs)


def test_a_limit_takes_images_from_all_over_the_folder(photographs_by_class):
    taken = explained_models._samples(str(photographs_by_class), 2, classes=2)
    assert [(Path(path).name, label) for path, label in taken] == [("0.png", 0), ("1.png", 1)]
    assert len(explained_models._samples(str(photographs_by_class), 100, classes=2)) == 5
    # Labels mean nothing to a model with other classes.
    assert {label for _, label in explained_models._samples(str(photographs_by_class), None, classes=1000)} == {-1}


def test_views_of_a_photograph_share_a_cluster():
    args = parse(["faithfulness"])
    subject = explained_models.image_subject(args, 20, torch.device("cpu"), False)
    images = subject.images(7, 17)
    assert images.clusters == [7, 0, 1, 2, 3, 4, 5, 6, 7, 0]
    assert images.inputs.shape == (10, 3, 224, 224)
    # The first views are not cropped, the next are, and differently.
    assert not torch.equal(images.inputs[1], images.inputs[9])
    assert torch.equal(subject.images(16, 17).inputs[0], images.inputs[9])


def test_an_input_becomes_an_output(x):
    model = Reused().eval()
    layer, before = choose_layer(model, x), model(x)
    expected = LayerDiffGradCam(model, layer).attribute(x, 1)
    assert layer.name == "pool:input"
    found = LayerDiffGradCam(model, as_output(model, layer)).attribute(x, 1)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(model(x), before)
    named = conv_net()
    assert as_output(named, choose_layer(named, x, "features.1")) is named.features[1]
