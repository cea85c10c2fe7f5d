"""Decision and map of one forward, and several layers of one."""

from __future__ import annotations

import pytest
import torch
from captum.attr import NoiseTunnel
from nets import Net, conv_net, images
from torch import Tensor

from captum_diffcam import GuidedDiffGradCam, InputAttribution, LayerDiffGradCam, predicted, top_rivals


@pytest.fixture
def x() -> Tensor:
    return images(8, seed=5)


@pytest.fixture
def net(x) -> Net:
    """A model that says different things of these images."""
    net = conv_net()
    with torch.no_grad():
        net.head[-1].bias -= net(x).mean(dim=0)
    return net


@pytest.fixture
def cam(net) -> LayerDiffGradCam:
    return LayerDiffGradCam(net, net.features)


def decided(net: Net, x: Tensor) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        logits = net(x)
    return logits, logits.argmax(dim=1)


def test_the_decision_is_that_of_a_bare_forward(net, x, cam):
    logits, classes = decided(net, x)
    assert len(classes.unique()) > 1
    explanation = cam.explain(x, contrast=top_rivals(2), reduction="mean", relu_attributions=True)
    assert explanation.logits.equal(logits)
    assert not explanation.logits.requires_grad
    assert explanation.target.equal(classes)
    assert explanation.maps.equal(
        cam.attribute(x, classes, contrast=top_rivals(2), reduction="mean", relu_attributions=True)
    )
    assert cam.explain(x, 2).target.tolist() == [2] * 8


def test_the_prediction_wherever_a_target_is_taken(net, x, cam):
    logits, classes = decided(net, x)
    rivals, expected = (cam.attribute_rivals(x, target, top_rivals(3)) for target in (predicted, classes))
    assert all(one.equal(other) for one, other in zip(rivals, expected, strict=True))
    assert rivals.target.equal(classes)
    assert rivals.logits.equal(logits)
    for attribution in (cam, InputAttribution(cam), GuidedDiffGradCam(net, net.features)):
        assert attribution.attribute(x, predicted).equal(attribution.attribute(x, classes))
    second = cam.attribute(x, lambda logits: logits.argsort(dim=1)[:, -2])
    assert second.equal(cam.attribute(x, logits.argsort(dim=1)[:, -2]))


def test_every_noisy_copy_has_its_own_prediction(net, x, cam):
    copies = []
    with net.register_forward_pre_hook(lambda module, args: copies.append(args[0].detach().clone())):
        smooth = NoiseTunnel(cam).attribute(x, target=predicted, nt_type="smoothgrad", nt_samples=6, stdevs=0.3)
    (noisy,) = copies
    classes = decided(net, noisy)[1]
    assert any(len(own.unique()) > 1 for own in classes.view(8, 6))
    torch.testing.assert_close(smooth, cam.attribute(noisy, classes).view(8, 6, *smooth.shape[1:]).mean(dim=1))


def test_several_layers_are_one_forward_in_the_order_that_was_asked_for(net, x):
    layers = [net.head[1], net.features[0], net.features]
    forwards = []
    with net.register_forward_hook(lambda *_: forwards.append(1)):
        explanation = LayerDiffGradCam(net, layers).explain(x)
    assert len(forwards) == 1
    rivals = LayerDiffGradCam(net, layers).attribute_rivals(x, predicted, top_rivals(2))
    for i, layer in enumerate(layers):
        alone = LayerDiffGradCam(net, layer)
        torch.testing.assert_close(explanation.maps[i], alone.attribute(x, predicted))
        torch.testing.assert_close(rivals.maps[i], alone.attribute_rivals(x, predicted, top_rivals(2)).maps)
    assert explanation.logits.equal(decided(net, x)[0])


def test_a_layout_for_all_or_for_each(net, x):
    def turned(tensor: Tensor) -> Tensor:
        return tensor.flip(2)

    layers = [net.features, net.head[1]]
    plain = LayerDiffGradCam(net, layers).attribute(x, 1)
    for_all = LayerDiffGradCam(net, layers, layout=turned).attribute(x, 1)
    for_each = LayerDiffGradCam(net, layers, layout=[turned, None]).attribute(x, 1)
    torch.testing.assert_close(for_all, [turned(maps) for maps in plain])
    torch.testing.assert_close(for_each, [for_all[0], plain[1]])
    with pytest.raises(ValueError, match="layout"):
        LayerDiffGradCam(net, layers, layout=["vit"])


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (lambda logits: logits, TypeError, "`target`"),
        (lambda logits: 3, TypeError, "`target`"),
        (lambda logits: logits.argmax(), ValueError, "`target`"),
        (lambda logits: torch.full((8,), 6), IndexError, "`target`"),
    ],
)
def test_answers_that_are_no_classes(x, answer, error, message):
    net = conv_net()
    with pytest.raises(error, match=message):
        LayerDiffGradCam(net, net.features).explain(x, answer)
