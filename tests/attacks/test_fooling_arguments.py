"""Every form of the data and the arguments of fool, and every way of getting one wrong."""

from __future__ import annotations

import copy

import pytest
import torch
from captum.attr import LayerGradCam

from captum_diffcam.attacks import fool


def test_data_in_other_forms(model, batches):
    images, labels = batches[0]
    for batch in (images, [images], (images, labels.int()), (images, labels.to(torch.uint8))):
        assert len(fool(model, model.features, [batch], steps=1).history) == 1
    with pytest.raises(TypeError, match="data: got an iterator, which can be taken only once"):
        fool(model, model.features, iter(batches), steps=1)


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"map_loss": "lies"}, ValueError, "map_loss: got 'lies'; allowed are 'sham'"),
        ({"map_loss": ["sham"]}, ValueError, r"map_loss: got \['sham'\]; allowed are 'sham'"),
        ({"data": 5}, TypeError, "data: got int; allowed are batches"),
        ({"methods": []}, TypeError, r"methods: got \[\]; allowed is a CamMethod or several"),
        ({"methods": [LayerGradCam]}, TypeError, "methods: got"),
        ({"classes": "false"}, ValueError, "classes: got 'false'; allowed are 'true', 'all' and"),
        ({"classes": []}, ValueError, r"classes: got \[\]"),
        ({"classes": [-1]}, ValueError, r"classes: got \[-1\]"),
        ({"classes": [0, 3]}, ValueError, r"classes: got class 3; allowed are 0 to 2"),
        ({"steps": 0}, ValueError, "steps: got 0"),
        ({"classes": 3}, ValueError, "classes: got 3"),
        ({"classes": ["cat"]}, TypeError, "classes: got 'cat'"),
        ({"hoax": [1.0]}, ValueError, r"hoax: got \[1.0\]"),
        ({"weight": "4"}, ValueError, "weight: got '4'"),
        ({"weight": -1.0}, ValueError, "weight: got -1.0"),
        ({"learning_rate": float("nan")}, ValueError, "learning_rate: got nan"),
        ({"parameters": ["tail"]}, ValueError, "parameters: got 'tail'; allowed are features.0.weight"),
        ({"parameters": []}, ValueError, r"parameters: got \[\], which leaves none to train"),
        ({"data": []}, ValueError, "data: gave no batch"),
        ({"data": torch.zeros(2, 3, 16, 16)}, TypeError, "data: got a tensor; allowed are batches"),
        (
            {"data": [5]},
            TypeError,
            "data: gave a batch of type int; allowed are images, and pairs",
        ),
        ({"hoax": torch.ones(3, 3)}, ValueError, r"hoax: got shape \(3, 3\); allowed is \(8, 8\)"),
    ],
)
def test_bad_arguments(model, batches, arguments, error, said):
    options = {"data": batches, "steps": 2, **arguments}
    with pytest.raises(error, match=said):
        fool(model, model.features, **options)


def test_a_layer_of_another_model(model, batches):
    with pytest.raises(ValueError, match="layer: got a Sequential that is no part of the model"):
        fool(model, copy.deepcopy(model).features, batches)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (
            torch.zeros(16),
            r"data: gave labels of torch.float32 of shape \(16,\); allowed are integers",
        ),
        (torch.zeros(15, dtype=torch.int64), r"data: gave labels of torch.int64 of shape \(15,\)"),
        (torch.full((16,), 3), "data: gave labels .* allowed are 0 to 2"),
        (torch.full((16,), -100), "data: gave labels .* allowed are 0 to 2"),
    ],
)
def test_labels_that_are_none(model, batches, labels, said):
    with pytest.raises(ValueError, match=said):
        fool(model, model.features, [(batches[0][0], labels)], steps=1)
