"""What changes a layer's tensor in place after its hook changes what the model has put aside, as without the hook."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.autograd.graph import get_gradient_edge
from torch.nn import functional

from captum_diffcam import LayerDiffGradCam, LayerDiffGradCamPlusPlus


class KeepsItsOutput(nn.Module):
    """Of its convolution or, with ``view``, of the half of it."""

    def __init__(self, view: bool = False) -> None:
        super().__init__()
        self.convolution, self.view = nn.Conv2d(4, 8 if view else 4, 1), view

    def forward(self, x):
        self.full = self.convolution(x)
        self.kept = self.full[:, :4] if self.view else self.full
        return self.kept


class Model(nn.Module):
    """Reads the layer's output after it was rectified in place, and what was put aside of it before."""

    def __init__(self, layer, aside) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.layer, self.aside = nn.Conv2d(3, 4, 3), layer, aside
        self.heads = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 5)) for _ in range(2)
        )

    def forward(self, x):
        e = self.stem(x)
        out = self.layer(e)
        functional.relu_(out)
        return self.heads[0](out) + self.heads[1](self.aside(self.layer, e).square())


CASES = {
    "kept": (KeepsItsOutput, lambda layer, e: layer.kept),
    "identity": (nn.Identity, lambda layer, e: e),
    "dropout": (nn.Dropout, lambda layer, e: e),
}


@pytest.mark.parametrize("frozen", [False, True], ids=["trained", "frozen"])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("create_graph", [False, True])
def test_a_change_in_place_reaches_what_was_put_aside(case, frozen, create_graph):
    layer, aside = CASES[case]
    model, x = Model(layer(), aside).eval().requires_grad_(not frozen), torch.rand(2, 3, 6, 6)
    kept = []

    def keep(module, args, output):
        kept[:] = output.detach().clone(), get_gradient_edge(output)

    with model.layer.register_forward_hook(keep):
        z = model(x.clone().requires_grad_() * 1)
    expected_logits = z.detach()
    a, edge = kept
    (g,) = torch.autograd.grad((z[:, 1] - z[:, [0, 2, 3, 4]].logsumexp(1)).sum(), [edge])
    expected = (g.mean((2, 3), keepdim=True) * a).sum(1, keepdim=True)

    cam = LayerDiffGradCam(model, model.layer)
    maps = cam.attribute(x, target=1, grad_kwargs={"create_graph": create_graph})
    torch.testing.assert_close(maps.detach(), expected)
    torch.testing.assert_close(cam.explain(x).logits, expected_logits)


def test_a_map_of_what_is_changed_later_is_differentiable():
    """It is of the tensor as the layer returned it."""
    model = Model(KeepsItsOutput(), lambda layer, e: layer.kept).double()
    x = torch.rand(1, 3, 4, 4, dtype=torch.double, requires_grad=True)
    cam = LayerDiffGradCam(model, model.layer)
    weight = model.layer.convolution.weight

    def total(step):
        with torch.no_grad():
            weight[0, 0] += step
        return cam.attribute(x, target=1, grad_kwargs={"create_graph": True}).sum()

    (slope,) = torch.autograd.grad(total(0.0), weight)
    difference = (total(1e-6) - total(-2e-6)) / 2e-6
    torch.testing.assert_close(slope[0, 0].sum(), difference.detach(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("aside", [lambda layer, e: layer.kept, lambda layer, e: layer.full[:, :4]])
def test_a_view_that_is_changed_in_place(aside):
    x, cut = torch.rand(2, 3, 6, 6), LayerDiffGradCam
    model = Model(KeepsItsOutput(view=True), aside)
    with pytest.raises(ValueError, match="layer"):
        cut(model, model.layer).attribute(x, target=1)
    # Nobody else reads it: the map of a layer that returns the same, and no view.
    model = Model(KeepsItsOutput(view=True), lambda layer, e: e)
    same = Model(nn.Conv2d(4, 4, 1), lambda layer, e: e)
    same.load_state_dict(
        {
            **model.state_dict(),
            "layer.weight": model.layer.convolution.weight[:4],
            "layer.bias": model.layer.convolution.bias[:4],
        },
        strict=False,
    )
    torch.testing.assert_close(
        cut(model, model.layer).attribute(x, target=1), cut(same, same.layer).attribute(x, target=1)
    )


def test_missing_gradients_are_zeros_on_demand():
    model = Model(KeepsItsOutput(), lambda layer, e: layer.kept)
    model.heads = nn.ModuleList([model.heads[0], model.heads[1]])
    unused = nn.Conv2d(4, 4, 1)

    def forward(x):
        unused(model.stem(x))
        return model(x)

    maps = LayerDiffGradCam(forward, unused).attribute(
        torch.rand(2, 3, 6, 6), target=1, grad_kwargs={"materialize_grads": True}
    )
    assert not maps.any()


class ChangesWhatWasSaved(nn.Module):
    """Changes in place a result that its own gradient needs, as no training could."""

    def __init__(self, inplace: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.head, self.inplace = nn.Conv2d(3, 4, 3), nn.Linear(4, 5), inplace

    def forward(self, x):
        gate = self.conv(x).sigmoid()
        gate = gate.mul_(2) if self.inplace else gate * 2
        return self.head(gate.square().mean((2, 3)))


@pytest.mark.parametrize("method", [LayerDiffGradCam, LayerDiffGradCamPlusPlus])
def test_a_result_that_the_gradient_needs_is_changed_in_place(method):
    x = torch.rand(2, 3, 6, 6)
    plain, changes = ChangesWhatWasSaved(False).eval(), ChangesWhatWasSaved(True).eval()
    torch.testing.assert_close(
        method(changes, changes.conv).attribute(x, target=1), method(plain, plain.conv).attribute(x, target=1)
    )
