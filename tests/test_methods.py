"""Methods apart from any model: their names, and their maps."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from captum.attr import LayerGradCam
from nets import conv_net, images

from captum_diffcam import CamMethod, LayerDiffGradCam, LayerDiffGradCamPlusPlus
from captum_diffcam.methods import by_forward, maps_of_group
from captum_diffcam.metrics import pearson


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


def test_methods_that_ask_other_questions_of_one_forward():
    net, x, target = conv_net(), images(), torch.tensor([0, 2, 3])
    kept = {"attribute_to_layer_input": True}
    alone = CamMethod(LayerDiffGradCam)
    asked = [
        CamMethod(LayerDiffGradCam, **keywords, **kept) for keywords in ({}, {"contrast": []}, {"reduction": "mean"})
    ]
    grad_cam = CamMethod(LayerGradCam)
    assert by_forward([asked[0], grad_cam, *asked[1:], alone]) == [asked, [grad_cam], [alone]]
    passes = []
    net.register_forward_hook(lambda *_: passes.append(1))
    together = maps_of_group(asked, net, net.features, x, target)
    assert len(passes) == 1
    for method, maps in zip(asked, together.unbind(dim=1), strict=True):
        expected = method.maps(net, net.features, x, target)
        assert torch.allclose(maps, expected, rtol=1e-5, atol=1e-7)
        assert not maps.requires_grad
    assert torch.equal(
        maps_of_group([alone], net, net.features, x, target)[:, 0], alone.maps(net, net.features, x, target)
    )


@pytest.mark.parametrize("other", [LayerDiffGradCamPlusPlus, partial(LayerDiffGradCam, layout="vit")])
def test_methods_that_differ_in_more_share_nothing(other):
    assert len(by_forward([CamMethod(LayerDiffGradCam), CamMethod(other)])) == 2
    assert len(by_forward([CamMethod(other), CamMethod(other, reduction="mean")])) == 1


def test_partials_that_are_alike_are_one():
    vit, same, swin = (partial(LayerDiffGradCam, layout=layout) for layout in ("vit", "vit", "swin"))
    methods = [CamMethod(vit), CamMethod(same, contrast=[]), CamMethod(swin), CamMethod(LayerDiffGradCam)]
    assert [len(group) for group in by_forward(methods)] == [2, 1, 1]


def test_a_class_with_its_own_way_to_a_map_is_asked_by_itself():
    class Doubled(LayerDiffGradCam):
        def attribute(self, *args, **keywords):
            return 2 * super().attribute(*args, **keywords)

    class Negated(LayerDiffGradCam):
        def explain(self, *args, **keywords):
            found = super().explain(*args, **keywords)
            return found._replace(maps=-found.maps)

    for own in (Doubled, Negated):
        assert len(by_forward([CamMethod(own), CamMethod(own, contrast=[])])) == 2
