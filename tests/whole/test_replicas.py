"""All methods, under every reduction, against the definitions written out in float64."""

from __future__ import annotations

import numpy as np
import pytest
import replicas
import torch
from nets import conv_net, images, linear_net

from captum_diffcam import ContrastScore, LayerDiffGradCam, LayerDiffGradCamPlusPlus, LayerDiffHiResCam

TARGETS = [2, 0, 5]
RIVALS = {
    "all others": (None, [[0, 1, 3, 4, 5], [1, 2, 3, 4, 5], [0, 1, 2, 3, 4]]),
    "one": (4, [[4]] * 3),
    "two": ([1, 4], [[1, 4]] * 3),
    "per example": ([[0, 1], [5], [0, 2, 3]], [[0, 1], [5], [0, 2, 3]]),
    "none": ([], [[]] * 3),
}
METHODS = {LayerDiffGradCam: "mean", LayerDiffGradCamPlusPlus: "plus plus", LayerDiffHiResCam: "each position"}
NETS = {
    "1-D": (conv_net(1), images(dims=1)),
    "2-D": (conv_net(2), images()),
    "3-D": (conv_net(3), images(dims=3, size=7)),
    "signed": (conv_net(2, signed=True), images()),
    "no positions": (linear_net(), torch.rand(3, 4, generator=torch.Generator().manual_seed(0))),
}


@pytest.mark.parametrize("reduction", ["logsumexp", "mean", "max"])
@pytest.mark.parametrize("rivals", RIVALS)
@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("method", METHODS)
def test_maps_follow_the_definition(method, net, rivals, reduction):
    model, x = NETS[net]
    contrast, sets = RIVALS[rivals]
    expected = replicas.cam(model, x, TARGETS, sets, reduction, METHODS[method])
    maps = method(model, model.features).attribute(x, target=TARGETS, contrast=contrast, reduction=reduction)
    assert maps.shape[:2] == (3, 1)
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(maps.flatten(1).numpy(), expected, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("reduction", ["logsumexp", "mean", "max"])
@pytest.mark.parametrize("contrast", [None, [1, 4], [3], []], ids=str)
def test_scores_follow_the_definition(contrast, reduction):
    logits = 4 * torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    scores = ContrastScore(lambda x: x, contrast, reduction)(logits)
    members = range(6) if contrast is None else contrast
    for row, values in zip(scores, logits.double().tolist(), strict=True):
        for c in range(6):
            expected = replicas.score(values, c, [j for j in members if j != c], reduction)
            assert row[c].item() == pytest.approx(expected, rel=1e-5, abs=1e-5)
