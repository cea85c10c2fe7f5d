"""The audit: its witness against a literal replica, and its verdicts on models that are known to lie or not."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from captum.attr import LayerGradCam
from nets import Net, conv_net, images
from torch import nn

from captum_diffcam import LayerDiffGradCam, vit_layout
from captum_diffcam.metrics import pearson
from captum_diffcam.sham import CamMethod, audit, hoax_map, inject_hoax, occlusion_witness


def log_odds(model, image, target):
    probabilities = model(image[None]).double().softmax(dim=1)[0]
    return (probabilities[target] / (1 - probabilities[target])).log()


@pytest.mark.parametrize("grid", [(3, 3), (3, 9), (1, 3)])
def test_the_witness_greys_one_window_after_another(grid):
    """Windows of two cells, a pixel's mean over those that cover it, a cell's mean over its pixels."""
    model, x = conv_net(), images(examples=11, size=9)
    target = torch.arange(11) % 6
    found = occlusion_witness(model, x, target, grid)
    height, width = (9 // n for n in grid)
    for index in (0, 10):
        drops, covered = torch.zeros(9, 9), torch.zeros(9, 9)
        for row in range(max(grid[0] - 1, 1)):
            for column in range(max(grid[1] - 1, 1)):
                window = slice(row * height, (row + 2) * height), slice(column * width, (column + 2) * width)
                occluded = x[index].clone()
                occluded[(slice(None), *window)] = x[index].mean(dim=(1, 2))[:, None, None]
                drops[window] += log_odds(model, x[index], target[index]) - log_odds(model, occluded, target[index])
                covered[window] += 1
        cells = (drops / covered).reshape(grid[0], height, grid[1], width).mean(dim=(1, 3))
        torch.testing.assert_close(found[index], cells, atol=1e-4, rtol=1e-4)


def test_cells_of_unequal_size():
    """Ten pixels in four cells: of one bright column nothing is lost."""
    model = Spotter().eval()
    x = torch.zeros(1, 3, 12, 12)
    x[0, 0, :, 11] = 1.0
    found = occlusion_witness(model, x, torch.tensor([0]), (5, 5))
    assert found.shape == (1, 5, 5)
    assert (found[0].argmax(dim=1) == 4).all()


def test_a_witness_of_sound():
    model = conv_net(dims=1)
    x = images(dims=1, size=12)
    assert occlusion_witness(model, x, torch.tensor([0, 1, 2]), (4,)).shape == (3, 4)


@pytest.mark.parametrize("grid", [(3,), (0, 3), (3, 10)])
def test_grids_that_do_not_fit(grid):
    with pytest.raises(ValueError, match="grid: got"):
        occlusion_witness(conv_net(), images(), torch.tensor([0, 1, 2]), grid)


class Spotter(nn.Module):
    """Class c is as likely as channel c is bright; the map of its one layer is the image itself."""

    def __init__(self):
        super().__init__()
        self.layer, self.pool, self.linear = nn.AvgPool2d(4), nn.AdaptiveAvgPool2d(1), nn.Linear(3, 3)
        with torch.no_grad():
            self.linear.weight.copy_(40 * torch.eye(3))
            self.linear.bias.zero_()

    def forward(self, x):
        return self.linear(self.pool(self.layer(x)).flatten(1))


@pytest.fixture
def spots():
    """A bright patch in the channel of the class, on grey noise."""
    generator = torch.Generator().manual_seed(0)
    x = 0.1 * torch.rand(12, 3, 28, 28, generator=generator)
    for index in range(12):
        row, column = torch.randint(0, 16, (2,), generator=generator).tolist()
        x[index, index % 3, row : row + 12, column : column + 12] += 0.8
    return x


def test_an_honest_model_passes(spots):
    model = Spotter().eval()
    report = audit(model, model.layer, spots)
    assert not report.manipulated
    assert not report.suspicious.any()
    assert report.score < 0.2
    assert report.target.tolist() == [index % 3 for index in range(12)]
    assert str(report).startswith("no sign of manipulation: score 0.")


def test_a_hoax_is_found_and_the_contrastive_maps_contradict_it(spots):
    model = Spotter().eval()
    forged = inject_hoax(model, model.layer, hoax_map((7, 7), entropy=3.33))
    report = audit(forged.model, forged.layer, spots)
    assert report.manipulated
    assert report.suspicious.float().mean() > 0.9
    assert str(report).startswith("manipulated: score 1.")
    assert report.agreement["LayerGradCam()"].mean() < 0
    assert report.agreement["LayerDiffGradCam()"].min() > 0.8
    # Without the hoax's victim there is nothing to find.
    others = [CamMethod(LayerDiffGradCam), CamMethod(LayerDiffGradCam, reduction="mean")]
    assert not audit(forged.model, forged.layer, spots, methods=others).manipulated


def test_what_the_report_computes(spots):
    model = Spotter().eval()
    methods = [CamMethod(LayerGradCam), CamMethod(LayerDiffGradCam, reduction="max")]
    report = audit(model, model.layer, spots, target=[0, 1, 2] * 4, methods=methods, threshold=0.05)
    maps = [method.maps(model, model.layer, spots, report.target) for method in methods]
    witness = occlusion_witness(model, spots, report.target, (7, 7))
    torch.testing.assert_close(report.witness, witness)
    for index in range(12):
        a, b, w = (each[index].numpy().ravel() for each in (*maps, witness))
        agreement = [np.corrcoef(m, w)[0, 1] for m in (a, b)]
        assert [value[index].item() for value in report.agreement.values()] == pytest.approx(agreement, abs=1e-5)
        assert report.scores[index].item() == pytest.approx(1 - min(agreement), abs=1e-5)
        assert report.disagreement[index].item() == pytest.approx(1 - np.corrcoef(a, b)[0, 1], abs=1e-5)
    assert report.score == pytest.approx(report.scores.mean().item())
    assert torch.equal(report.suspicious, report.scores > 0.05)
    assert report.manipulated == (report.score > 0.05)


def test_nothing_of_the_callers_is_touched(spots):
    model = Spotter().eval()
    before, random = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    audit(model, model.layer, spots.requires_grad_())
    assert torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert spots.grad is None
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not model.layer._forward_hooks


def test_token_layers_through_a_partial():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.patches, self.head = nn.Conv2d(3, 6, 4, stride=4), nn.Linear(6, 5)
            self.tokens = nn.Identity()

        def forward(self, x):
            return self.head(self.tokens(self.patches(x).flatten(2).transpose(1, 2)).mean(dim=1))

    model = Tokens().eval()
    made = partial(LayerDiffGradCam, layout=vit_layout((4, 4)))
    report = audit(
        model, model.tokens, torch.rand(2, 3, 16, 16), methods=[CamMethod(made), CamMethod(made, contrast=[])]
    )
    assert report.witness.shape == (2, 4, 4)
    assert list(report.agreement) == ["LayerDiffGradCam()", "LayerDiffGradCam(contrast=[])"]


@pytest.mark.parametrize("count", [1, 20])
def test_the_figure(spots, count, tmp_path):
    model = Spotter().eval()
    report = audit(model, model.layer, spots)
    figure = report.figure(count)
    assert len(figure.axes) == min(count, 12) * 5
    worst = report.scores.argmax().item()
    assert figure.axes[0].get_ylabel() == f"class {worst % 3}\nscore {report.scores[worst]:.2f}"
    figure.savefig(tmp_path / "report.png")


def test_a_figure_of_what_cannot_be_drawn():
    report = audit(net := conv_net(dims=1), net.features, images(dims=1, size=12))
    with pytest.raises(ValueError, match="count: got 4 for maps of 1 dimensions"):
        report.figure()


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"images": torch.zeros(0, 3, 8, 8)}, ValueError, r"images: got \(0, 3, 8, 8\)"),
        ({"images": "cat.png"}, ValueError, "images: got str"),
        ({"methods": []}, TypeError, r"methods: got \[\]"),
        ({"methods": [LayerGradCam]}, TypeError, "methods: got"),
        ({"target": 6}, IndexError, "target: class 6 is out of range"),
        ({"target": [0, 1]}, ValueError, "target: got 2 targets; the batch has 3"),
        ({"threshold": 2.5}, ValueError, "threshold: got 2.5; allowed is a number from 0 to 2"),
    ],
)
def test_bad_arguments(arguments, error, said):
    net = conv_net()
    with pytest.raises(error, match=said):
        audit(net, net.features, **{"images": images(), **arguments})


def test_a_layer_without_positions():
    net = Net(nn.Sequential(nn.Flatten(), nn.Linear(3 * 81, 8)), nn.Linear(8, 4)).eval()
    with pytest.raises(ValueError, match=r"layer: LayerGradCam\(\) gave \(3, 1\)"):
        audit(net, net.features, images())


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
