"""attribute_rivals: every rival from one forward pass."""

from __future__ import annotations

import gc

import pytest
import torch
from torch import nn

from captum_diffcam import LayerDiffGradCam, LayerDiffGradCamPlusPlus, top_rivals

METHODS = [LayerDiffGradCam, LayerDiffGradCamPlusPlus]
TARGETS = [2, 0, 5]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "rivals", [None, 1, [[1, 3, 4]], top_rivals(2), torch.tensor([[0, 1], [1, 2], [3, 4]])], ids=str
)
def test_each_map_is_the_map_against_that_rival(net, x, method, rivals):
    cam = method(net, net.features)
    result = cam.attribute_rivals(x, TARGETS, rivals)
    assert result.maps.shape == (3, result.rivals.shape[1], 1, 7, 7)
    assert not result.maps.requires_grad
    assert not result.weights.requires_grad
    for k in range(result.rivals.shape[1]):
        single = [[int(j)] for j in result.rivals[:, k]]
        torch.testing.assert_close(result.maps[:, k], cam.attribute(x, target=TARGETS, contrast=single))


@pytest.mark.parametrize("rivals", [None, [[1, 3, 4]], top_rivals(3), [[0], [1, 3, 5], [0, 1]]], ids=str)
def test_the_weighted_sum_is_the_map_against_the_total_set(net, x, rivals):
    cam = LayerDiffGradCam(net, net.features)
    maps, _, weights, *_ = cam.attribute_rivals(x, TARGETS, rivals)
    total = cam.attribute(x, target=TARGETS, contrast=rivals)
    torch.testing.assert_close((weights[:, :, None, None, None] * maps).sum(1), total)


def test_the_strongest_rival_comes_first(net, x):
    _, rivals, weights, *_ = LayerDiffGradCam(net, net.features).attribute_rivals(x, TARGETS, [[1, 3, 4]])
    logits = net(x).detach()
    for i in range(3):
        assert sorted(rivals[i].tolist()) == [1, 3, 4]
        strength = logits[i, rivals[i]]
        assert strength.tolist() == sorted(strength.tolist(), reverse=True)
        torch.testing.assert_close(weights[i], strength.softmax(0))


def test_shorter_sets_are_filled_up(net, x):
    maps, rivals, weights, *_ = LayerDiffGradCam(net, net.features).attribute_rivals(x, TARGETS, [[4], [1, 3], []])
    assert (rivals == -1).tolist() == [[False, True], [False, False], [True, True]]
    assert weights.sum(1).tolist() == pytest.approx([1, 1, 0])
    assert weights[rivals == -1].tolist() == [0, 0, 0]
    assert maps[rivals == -1].abs().max() == 0
    assert maps[rivals != -1].abs().amax((1, 2, 3)).min() > 0


@pytest.mark.parametrize(
    ("inputs", "rivals"), [(slice(None), []), (slice(0), top_rivals(2))], ids=["no rival", "no example"]
)
def test_nothing_to_explain(net, x, inputs, rivals):
    x = x[inputs]
    maps, classes, weights, *_ = LayerDiffGradCam(net, net.features).attribute_rivals(x, 1, rivals)
    assert maps.shape == (len(x), 0, 1, 7, 7)
    assert classes.shape == weights.shape == (len(x), 0)


def test_one_forward_pass(net, x):
    runs = []
    net.register_forward_hook(lambda *args: runs.append(1))
    LayerDiffGradCam(net, net.features).attribute_rivals(x, TARGETS, None)
    assert len(runs) == 1


def test_arguments_of_attribute(net, x):
    def forward(x, factor):
        return factor * net(x)

    cam = LayerDiffGradCam(forward, net.features)
    kwargs = {
        "additional_forward_args": 2.0,
        "attribute_to_layer_input": True,
        "relu_attributions": True,
        "attr_dim_summation": False,
    }
    maps = cam.attribute_rivals(x, 1, [3, 4], **kwargs)
    torch.testing.assert_close(
        maps.maps[:, 0][maps.rivals[:, 0] == 3], cam.attribute(x, 1, contrast=3, **kwargs)[maps.rivals[:, 0] == 3]
    )
    graph = cam.attribute_rivals(x, 1, [3, 4], 2.0, grad_kwargs={"create_graph": True})
    (gradient,) = torch.autograd.grad(graph.maps.sum(), net.features[0].weight)
    assert gradient.abs().max() > 0


def test_layers_with_several_tensors(x):
    class Two(nn.Module):
        def forward(self, a):
            return a.relu(), a.tanh()

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.two, self.head = nn.Conv2d(3, 4, 3), Two(), nn.Linear(4, 6)

        def forward(self, x):
            a, b = self.two(self.conv(x))
            return self.head((a + b).mean((2, 3)))

    model = Model()
    cam = LayerDiffGradCam(model, model.two)
    maps, *_ = cam.attribute_rivals(x, 1, 4)
    total = cam.attribute(x, 1, contrast=4)
    assert isinstance(maps, tuple)
    for pairwise, single in zip(maps, total, strict=True):
        torch.testing.assert_close(pairwise[:, 0], single)


def test_errors_name_the_argument(net, x):
    cam = LayerDiffGradCam(net, net.features)
    with pytest.raises(ValueError, match="`rivals` must"):
        cam.attribute_rivals(x, 1, [1, 2])
    with pytest.raises(TypeError, match="`inputs` must"):
        cam.attribute_rivals([x], 1)


def test_nothing_of_a_run_is_kept_alive():
    """Operations such as exp keep their own output, which must not keep the operation in turn."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Softmax(dim=1), nn.Linear(4, 3))
    cam = LayerDiffGradCam(model, model[0])

    def tensors_after_a_run():
        cam.attribute_rivals(torch.rand(2, 3, 8, 8), 0)
        gc.collect()
        return sum(type(thing) is torch.Tensor for thing in gc.get_objects())

    tensors_after_a_run()
    before = tensors_after_a_run()
    assert tensors_after_a_run() == before
