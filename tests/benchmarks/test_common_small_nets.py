"""The small classifiers."""

from __future__ import annotations

import pytest
import torch

from benchmarks.common import small_nets
from benchmarks.common.glyphs import draw_scenes
from benchmarks.common.small_nets import (
    ARCHITECTURES,
    LAYOUTS,
    RECEPTIVE_FIELDS,
    GlyphClassifier,
    TwoSided,
    accuracy,
    build,
    train_classifier,
    trained,
)
from captum_diffcam import LayerDiffGradCam


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, *RECEPTIVE_FIELDS])
def test_seven_by_seven_positions(architecture):
    net, x = build(architecture, 5, 0, width=4), torch.rand(2, 3, 56, 56)
    assert net(x).shape == (2, 5)
    cam = LayerDiffGradCam(net, net.features, layout=LAYOUTS.get(architecture))
    assert cam.attribute(x, target=1).shape == (2, 1, 7, 7)


def test_a_seed_gives_the_same_net():
    one, same, other = (build("plain", 3, seed, width=4).head.weight for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_one_logit_as_two():
    """The softmax is the sigmoid of the logit, and every reduction gives Grad-CAM's map, twice as large."""
    logit = torch.tensor([[2.0], [-1.0]])
    torch.testing.assert_close(TwoSided()(logit).softmax(dim=1)[:, 1:], logit.sigmoid())
    net, x = build("plain", 2, 0, width=4, one_logit=True), torch.rand(3, 3, 56, 56)
    cam = LayerDiffGradCam(net, net.features)
    plain = cam.attribute(x, [0, 1, 1], contrast=[])
    for reduction in ("logsumexp", "mean", "max"):
        torch.testing.assert_close(cam.attribute(x, [0, 1, 1], reduction=reduction), 2 * plain)


def test_it_learns():
    """Bright and dark are learnt in four epochs of sixteen batches."""
    labels = torch.arange(1024) % 2
    images = torch.rand(1024, 3, 56, 56) / 4 + 0.6 * labels[:, None, None, None]
    net = trained("plain", 2, images, labels, 0, width=4)
    assert not net.training
    assert (net(images).argmax(dim=1) == labels).float().mean() > 0.9


@pytest.mark.parametrize(("field", "pixels"), [("one cell", 8), ("37 pixels", 37), ("whole image", 56)])
def test_receptive_fields(field, pixels):
    """The pixels on which the central position depends, along one side."""
    net, x = build(field, 3, 0, width=4), torch.rand(1, 3, 56, 56, requires_grad=True)
    net.features(x)[0, :, 3, 3].sum().backward()
    columns = x.grad.abs().sum(dim=(0, 1, 2)).nonzero()[:, 0]
    assert columns.max() - columns.min() + 1 == pixels


def test_a_classifier_of_glyphs_learns(monkeypatch):
    # More steps of fewer images each.
    monkeypatch.setattr(small_nets, "_BATCH", 8)
    held_out = draw_scenes(classes=3, count=100, seed=100)
    assert accuracy(train_classifier(classes=3, seed=0, images=192), held_out) > 0.6
    assert accuracy(GlyphClassifier(3).eval(), held_out) < 0.5
