"""Methods apart from any model: their names, and their maps."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from captum.attr import LayerGradCam
from nets import conv_net, images

from captum_diffcam import LayerDiffGradCam
from captum_diffcam.metrics import pearson
from captum_diffcam.sham import CamMethod


def test_methods_by_name():
    assert str(CamMethod(LayerGradCam)) == "LayerGradCam()"
    assert str(CamMethod(partial(LayerDiffGradCam, layout="swin"), contrast=[3])) == "LayerDiffGradCam(contrast=[3])"
    with pytest.raises(TypeError, match="attribution: got int"):
        CamMethod(5)


def test_maps_of_a_method_are_those_of_its_attribution():
    net, x = conv_net(), images()
    method = CamMethod(LayerDiffGradCam, contrast=[1], reduction="max")
    expected = LayerDiffGradCam(net, net.features).attribute(x, target=[0, 2, 3], contrast=[1], reduction="max")[:, 0]
    assert torch.equal(method.maps(net, net.features, x, torch.tensor([0, 2, 3])), expected)
    differentiable = method.maps(net, net.features, x, torch.tensor([0, 2, 3]), create_graph=True)
    assert differentiable.requires_grad
    assert pearson(differentiable, expected).tolist() == pytest.approx([1, 1, 1])
