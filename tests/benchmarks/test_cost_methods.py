"""Everybody makes the map that is measured."""

from __future__ import annotations

import pytest
import torch
from captum.attr import LayerGradCam

from benchmarks.common.peers import PEERS
from benchmarks.cost.cases import Case
from benchmarks.cost.methods import action
from captum_diffcam import LayerDiffGradCam, LayerDiffGradCamPlusPlus

CASE = Case("mobilenet_v3_small", "early", 2, 32, 5)


@pytest.mark.parametrize(
    ("name", "method", "kwargs"),
    [
        ("LayerGradCam", LayerGradCam, {}),
        ("DiffGradCAM", LayerDiffGradCam, {}),
        ("DiffGradCAM++", LayerDiffGradCamPlusPlus, {}),
    ],
)
def test_every_method_makes_its_map(name, method, kwargs):
    subject = CASE.build()
    model, layer, images, targets, _ = subject
    maps = action(name, subject)()
    torch.testing.assert_close(maps, method(model, layer).attribute(images, target=targets, **kwargs))


def test_a_bare_forward_records_nothing():
    output = action("forward", CASE.build())()
    assert output.shape == (2, 5)
    assert not output.requires_grad


@pytest.mark.parametrize("name", PEERS)
def test_peers_explain_the_same_map(name):
    """Theirs is rectified and scaled, so only where they point is compared."""
    pytest.importorskip(PEERS[name], exc_type=ImportError)
    subject = Case("resnet50", "late", 1, 96).build()
    model, layer, images, *_ = subject
    captum = LayerGradCam(model, layer)
    plain = {c: captum.attribute(images, target=c).detach() for c in range(10)}
    target = max(plain, key=lambda c: plain[c].relu().sum())  # random weights: some maps have nothing above zero
    maps = action(name, subject._replace(targets=[target]))()
    maps = torch.as_tensor(maps[0] if isinstance(maps, list) else maps)
    ours = torch.nn.functional.interpolate(plain[target].relu(), maps.shape[1:], mode="bilinear")
    assert torch.corrcoef(torch.stack([maps.flatten(), ours.flatten()]))[0, 1] > 0.95
