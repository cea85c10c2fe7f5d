"""Scenes of two cut-outs that the model recognises, with their labels and masks."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from small_models import COLOURS
from torch import nn

from benchmarks.common.models import Classifier
from benchmarks.common.options import UsageError
from benchmarks.faithfulness.cutout_scenes import cutout_subject


@pytest.fixture
def classifier():
    """Eight classes, of which the first four are the colours; grey is none."""
    colours = nn.Conv2d(3, 4, 1)
    colours.weight.data = torch.tensor([[1.0, -1, -1], [-1, 1, -1], [-1, -1, 1], [1, 1, -1]])[:, :, None, None]
    colours.bias.data = torch.tensor([0.0, 0, 0, -1])
    head = nn.Linear(4, 8)
    head.weight.data, head.bias.data = 60 * torch.eye(8, 4), torch.zeros(8)
    model = nn.Sequential(colours, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head).eval()
    preprocess = SimpleNamespace(mean=[0.0] * 3, std=[1.0] * 3, crop_size=[224])
    return Classifier("colours", "by hand", model, preprocess, tuple("rgbyabcd"))


def test_scenes_show_two_objects_of_the_labels_where_the_masks_are(classifier, material):
    subject = cutout_subject(classifier, material, 6, seed=0)
    assert (subject.study, subject.name) == ("localization", "colours, cut-outs")
    images = subject.images(0, 3)
    assert images.inputs.shape == (3, 3, 224, 224)
    assert images.masks.shape == (3, 2, 224, 224)
    for image, labels, masks in zip(images.inputs, images.labels.tolist(), images.masks, strict=True):
        assert labels[0] != labels[1]
        for label, mask in zip(labels, masks, strict=True):
            colour = torch.tensor(COLOURS[label]) / 255
            share = ((image - colour[:, None, None]).abs().amax(dim=0) < 0.1)[mask].float().mean()
            assert share > 0.9
    # The same whoever takes them, and others further on.
    assert torch.equal(subject.images(0, 3).inputs, images.inputs)
    assert not torch.equal(subject.images(3, 6).inputs, images.inputs)


def test_objects_that_the_model_does_not_recognise_are_no_objects(classifier, material):
    # Without yellow, no scene has a fourth label.
    classifier.model[4].weight.data[3] = 0
    labels = cutout_subject(classifier, material, 6, seed=0).images(0, 6).labels
    assert set(labels.unique().tolist()) <= {0, 1, 2}


def test_too_few_recognised_objects(classifier, material):
    subject = cutout_subject(classifier, replace(material, cutouts=material.cutouts[:1]), 6, seed=0)
    with pytest.raises(UsageError, match=r"--cutouts.*got 1"):
        subject.images(0, 3)
