"""The small classifiers: alike in what they are made of."""

from __future__ import annotations

import pytest
import torch

from benchmarks.common.small_nets import ARCHITECTURES, LAYOUTS, TwoSided, build, trained
from captum_diffcam import LayerDiffGradCam


@pytest.mark.parametrize("architecture", ARCHITECTURES)
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
    """Its softmax is the sigmoid, and every reduction is the same map as Grad-CAM, twice as large."""
    logit = torch.tensor([[2.0], [-1.0]])
    torch.testing.assert_close(TwoSided()(logit).softmax(dim=1)[:, 1:], logit.sigmoid())
    net, x = build("plain", 2, 0, width=4, one_logit=True), torch.rand(3, 3, 56, 56)
    cam = LayerDiffGradCam(net, net.features)
    plain = cam.attribute(x, [0, 1, 1], contrast=[])
    for reduction in ("logsumexp", "mean", "max"):
        torch.testing.assert_close(cam.attribute(x, [0, 1, 1], reduction=reduction), 2 * plain)


def test_it_learns():
    """Bright or dark is learnt in four rounds of sixteen batches."""
    labels = torch.arange(1024) % 2
    images = torch.rand(1024, 3, 56, 56) / 4 + 0.6 * labels[:, None, None, None]
    net = trained("plain", 2, images, labels, 0, width=4)
    assert not net.training
    assert (net(images).argmax(dim=1) == labels).float().mean() > 0.9
