"""Probabilities in place of logits: warned of once, at the line of the caller, and nothing else is."""

from __future__ import annotations

import inspect
import re
import warnings

import pytest
import torch
from captum.attr import NoiseTunnel, Saliency
from torch import Tensor, nn

from captum_diffcam import ContrastScore, GuidedDiffGradCam, InputAttribution, LayerDiffGradCam
from captum_diffcam.logits import warn_of_probabilities

SOFTMAX = "`forward_func` returned .* softmax"
SIGMOID = "`forward_func` returned .* sigmoid for each class"


def warnings_of(output: Tensor) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_probabilities(output)
    return [str(warning.message) for warning in caught]


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


class TestProbabilities:
    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
    @pytest.mark.parametrize("classes", [2, 3, 1000, 21_000])
    @pytest.mark.parametrize("scale", [0.1, 1, 10])
    def test_of_softmax(self, dtype, classes, scale):
        (message,) = warnings_of((scale * random(8, classes)).to(dtype).softmax(1))
        assert re.match(SOFTMAX, message)

    def test_of_softmax_at_every_position(self):
        (message,) = warnings_of(random(2, 3, 4, 5).softmax(1))
        assert re.match(SOFTMAX, message)
        assert not warnings_of(random(2, 3, 4, 5).softmax(3) * 2)

    @pytest.mark.parametrize("classes", [10, 80])
    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
    def test_of_a_sigmoid_for_each_class(self, classes, dtype):
        (message,) = warnings_of((8 * random(4, classes)).to(dtype).sigmoid())
        assert re.match(SIGMOID, message)

    @pytest.mark.parametrize("shape", [(1,), (4,), (1, 1), (4, 1), (1, 2), (4, 3), (2, 3, 4, 4)])
    @pytest.mark.parametrize("then", [lambda p: p, lambda p: p.flip(0).squeeze(-1), lambda p: p.double()])
    def test_of_a_sigmoid_for_few_classes(self, shape, then):
        """Its graph tells."""
        (message,) = warnings_of(then(random(*shape).requires_grad_().sigmoid()))
        assert re.match(SIGMOID, message)

    @pytest.mark.parametrize(
        "output",
        [
            lambda z: torch.stack([z.sigmoid(), (2 * z).sigmoid()]).mean(0),
            lambda z: torch.cat([z[:2].sigmoid(), z[2:].sigmoid()]),
            lambda z: z.sigmoid() * torch.tensor([1.0, 1, 0]),
            lambda z: z.softmax(1)[:, 1:],
            lambda z: 0.5 * z.sigmoid() + 0.5 * z.sigmoid().mean(0),
        ],
        ids=["an ensemble", "in pieces", "masked", "without a background class", "smoothed"],
    )
    def test_of_what_is_made_of_them(self, output):
        (message,) = warnings_of(output(random(4, 3).requires_grad_()))
        assert re.match(SIGMOID, message)

    @pytest.mark.parametrize(
        "output",
        [
            random(4, 6),
            random(4, 6).abs(),
            random(4, 1000).log_softmax(1),
            random(4, 6).log_softmax(1).exp() * 1.0001,
            torch.tensor([[1.5, -0.5], [0.5, 0.5]]),  # sums to one
            torch.tensor([[0.5, 0.5], [0.3, 0.6]]),  # one row does, by chance
            torch.tensor([[0.2, 0.9]]),  # logits of an untrained model
            torch.rand(8, 9, generator=torch.Generator().manual_seed(0)),
            (random(8, 20) / 10).relu(),
            random(8, 20).sigmoid() * 1.2,
            torch.tensor([0.3, 0.7]),
            torch.ones(3, 1),
            torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]),  # written by hand
            torch.zeros(0, 5),
            torch.zeros(0, 20).requires_grad_().sigmoid(),
            torch.tensor([[0.5, 0.5, -float("inf")]]),
        ],
    )
    def test_logits_are_accepted(self, output):
        assert not warnings_of(output)
        assert not warnings_of(output.clone().requires_grad_() * 1)

    def test_a_graph_is_believed(self):
        """Of logits to all of which something is added, many classes are soon within 0 and 1."""
        z = torch.full((4, 20), 0.3, requires_grad=True) + random(4, 1) / 10
        assert not warnings_of(z)
        assert warnings_of(z.detach())

    def test_a_sigmoid_that_is_not_the_last(self):
        z = torch.tensor([[0.2, 0.9]], requires_grad=True)
        assert not warnings_of(z * z.sigmoid())
        assert not warnings_of(z.sigmoid() * z)
        assert not warnings_of(nn.Linear(2, 2)(z.sigmoid()).clamp(0, 1))
        assert not warnings_of(z.sigmoid() + torch.zeros(2, requires_grad=True))
        assert not warnings_of(z.sigmoid().log())

    @pytest.mark.parametrize(("last", "message"), [(nn.Softmax(dim=1), SOFTMAX), (nn.Sigmoid(), SIGMOID)])
    @pytest.mark.parametrize(
        "explain",
        [
            lambda model, x: LayerDiffGradCam(model, model[0].features).attribute(x, 1),
            lambda model, x: LayerDiffGradCam(model, model[0].features).attribute_rivals(x, 1),
            lambda model, x: InputAttribution(LayerDiffGradCam(model, model[0].features)).attribute(x, 1),
            lambda model, x: NoiseTunnel(LayerDiffGradCam(model, model[0].features)).attribute(x, target=1),
            lambda model, x: GuidedDiffGradCam(model, model[0].features).attribute(x, 1),
            lambda model, x: ContrastScore(lambda x: model(x))(x),
            lambda model, x: Saliency(ContrastScore(model)).attribute(x.clone().requires_grad_(), 1),
        ],
        ids=["map", "rivals", "input", "tunnel", "guided", "score", "captum"],
    )
    def test_once_per_call_at_the_line_of_the_caller(self, net, x, explain, last, message):
        model = nn.Sequential(net, last)
        with pytest.warns(UserWarning, match=message) as caught:
            explain(model, x)
        (warning,) = (one for one in caught if "forward_func" in str(one.message))
        assert warning.filename == __file__
        assert warning.lineno == inspect.getsourcelines(explain)[1]

    def test_silenced_in_the_usual_way(self, net, x):
        model = nn.Sequential(net, nn.Softmax(dim=1))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.filterwarnings("ignore", message="`forward_func` returned")
            LayerDiffGradCam(model, net.features).attribute(x, 1)

    @pytest.mark.parametrize("reduction", ["logsumexp", "mean", "max"])
    def test_log_probabilities_have_the_map_of_logits(self, net, x, reduction):
        model = nn.Sequential(net, nn.LogSoftmax(dim=1))
        maps = LayerDiffGradCam(model, net.features).attribute(x, 1, reduction=reduction)
        torch.testing.assert_close(maps, LayerDiffGradCam(net, net.features).attribute(x, 1, reduction=reduction))

    def test_of_probabilities_the_map_fades(self, net, x):
        """What the warning says."""
        model = nn.Sequential(net, nn.Softmax(dim=1))
        with torch.no_grad():
            net.head[-1].bias[1] = 30
        of_logits = LayerDiffGradCam(net, net.features).attribute(x, 1)
        with pytest.warns(UserWarning, match="`forward_func`"):
            faded = LayerDiffGradCam(model, net.features).attribute(x, 1)
        assert faded.abs().max() < 1e-6 * of_logits.abs().max()
