"""What a target may name in the model's output, in which forms, and outputs that are no logits."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict, namedtuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from captum_diffcam import ContrastScore, LayerDiffGradCam
from captum_diffcam.logits import doubt_about_classes


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        (6, IndexError, "target: class 6 is out of range; allowed are 0 to 5"),
        (-1, IndexError, "target: class -1 is out of range"),
        ([0, 1, 7], IndexError, "target: class 7 is out of range"),
        (torch.tensor([0, -2, 1]), IndexError, "target: class -2 is out of range"),
        ([0, 1], ValueError, "target: got 2 targets; the batch has 3"),
        (torch.tensor([0, 1]), ValueError, "target: got 2 targets; the batch has 3"),
        (torch.zeros(3, 2, dtype=torch.int64), ValueError, r"target: got a tensor of shape \(3, 2\)"),
        (None, ValueError, r"target: got None; the output of forward_func, of shape \(3, 6\)"),
        ((1, 2), ValueError, r"target: got \(1, 2\); an output of shape \(N, 6\) takes a class"),
        ((), ValueError, r"target: got \(\)"),
        (1.0, TypeError, "target: got 1.0 of type float"),
        (True, TypeError, "target: got True of type bool"),
        ("1", TypeError, "target: got '1' of type str"),
        (torch.tensor([0.0, 1, 2]), TypeError, "target: got 0.0 of type float"),
        ([0, [1], 2], TypeError, r"target: got \[1\] of type list"),
    ],
    ids=str,
)
def test_targets(net, x, target, error, message):
    with pytest.raises(error, match=f"^{message}"):
        LayerDiffGradCam(net, net.features).attribute(x, target=target)


@pytest.mark.parametrize(
    ("target", "message"), [((1, 9, 0), "position 9 along dimension 2"), ((1, 0, -1), "position -1")]
)
def test_positions(net, x, target, message):
    with pytest.raises(IndexError, match=f"target: {message}"):
        LayerDiffGradCam(lambda x: net.features(x), net.features[0]).attribute(x, target=target)


def test_a_segmentation_needs_a_position(net, x):
    with pytest.raises(ValueError, match=r"target: got 1; .* takes a class and 2 position\(s\), as a tuple"):
        LayerDiffGradCam(net.features, net.features[0]).attribute(x, target=1)


@pytest.mark.parametrize(
    ("output", "error", "message"),
    [
        (lambda z: z.argmax(1), TypeError, "forward_func: returned a tensor of torch.int64"),
        (lambda z: z.to(torch.complex64), TypeError, "forward_func: returned a tensor of torch.complex64"),
        (lambda z: z.sum(), ValueError, r"forward_func: returned shape \(\)"),
        (lambda z: z[:, :0], ValueError, r"forward_func: returned shape \(3, 0\)"),
        (lambda z: z[0], ValueError, r"target: got 1; an output of shape \(N,\) has no classes"),
    ],
)
def test_outputs_that_are_no_logits(net, x, output, error, message):
    with pytest.raises(error, match=message):
        LayerDiffGradCam(lambda x: output(net(x)), net.features).attribute(x, target=1)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_that_are_not_finite(net, x, value):
    with torch.no_grad():
        net.head[-1].bias[3] = value
    with pytest.raises(ValueError, match=f"forward_func: returned the logit {value}; allowed are finite ones"):
        LayerDiffGradCam(net, net.features).attribute(x, target=1)


@dataclasses.dataclass
class Output(OrderedDict):
    """As in transformers: a mapping whose users write attributes."""

    loss: Tensor
    logits: Tensor
    hidden: tuple = ()

    def __post_init__(self) -> None:
        self.update(vars(self))


@dataclasses.dataclass
class Scores:
    ids: Tensor
    scores: Tensor


Z, IDS = torch.zeros(3, 6), torch.zeros(3, dtype=torch.int64)


def test_classes_that_come_last():
    """A tagger of tokens, or a language model: rivals would be other tokens, not other classes."""
    layer = nn.Embedding(9, 4)
    model, ids = nn.Sequential(layer, nn.Linear(4, 5)), torch.arange(14).view(2, 7) % 9
    with pytest.warns(UserWarning, match=r"forward_func: returned shape \(2, 7, 5\) for inputs of \(2, 7\)"):
        LayerDiffGradCam(model, layer, layout="swin").attribute(ids, (3, 1))
    LayerDiffGradCam(lambda x: model(x).movedim(-1, 1), layer, layout="swin").attribute(ids, (1, 3))


@pytest.mark.parametrize(
    ("output", "given"),
    [((2, 21, 8, 8), (2, 3, 8, 8)), ((2, 5, 16), (2, 16)), ((2, 7), (2, 7)), ((2, 7, 7), (2, 7)), ((2,), (2, 3, 8, 8))],
)
def test_classes_that_do_not(output, given):
    assert doubt_about_classes(torch.zeros(output), torch.zeros(given)) is None


class TestOutputsOfSeveralParts:
    @pytest.mark.parametrize(
        ("output", "hint"),
        [
            ([Z, Z], "[0]"),
            ((Z,), "[0]"),
            ([IDS, Z], "[1]"),
            ({"out": Z, "aux": Z}, "['out']"),
            ({"loss": Z.sum(), "logits": Z}, "['logits']"),
            ({"aux": Z, "out": Z}, "['out']"),
            ({0: Z}, "[0]"),
            ({"scores": Z}, "['scores']"),
            (Output(Z.sum(), Z), ".logits"),
            (Scores(IDS, Z), ".scores"),
            (namedtuple("InceptionOutputs", ["logits", "aux_logits"])(Z, Z), ".logits"),
        ],
        ids=str,
    )
    def test_the_hint_fits(self, net, x, output, hint):
        with pytest.raises(TypeError) as error:
            LayerDiffGradCam(lambda x: net(x) is None or output, net.features).attribute(x, target=1)
        told = f"allowed is a tensor of logits, which a function around the model can pick: lambda x: model(x){hint}"
        assert str(error.value) == f"forward_func: returned {type(output).__name__}; {told}"
        assert eval(f"output{hint}") is Z

    @pytest.mark.parametrize("output", [{"out": 1}, (1, 2), [], {}, None, "text"], ids=str)
    def test_no_hint_where_there_is_nothing_to_pick(self, output):
        with pytest.raises(TypeError, match=r"allowed is a tensor of logits$"):
            ContrastScore(lambda x: output)(Z)


class TestTargetsOfToolkits:
    @pytest.mark.parametrize(
        "target",
        [
            np.array([2, 0, 5]),
            np.array([2, 0, 5], dtype=np.uint8),
            np.broadcast_to(np.array([2, 0, 5]), (3,)),
            np.array([5, 0, 2])[::-1],
            [np.int64(2), np.int64(0), np.int64(5)],
            list(np.array([2, 0, 5])),
        ],
        ids=str,
    )
    def test_one_for_each_example(self, net, x, target):
        cam = LayerDiffGradCam(net, net.features)
        torch.testing.assert_close(cam.attribute(x, target), cam.attribute(x, [2, 0, 5]))

    @pytest.mark.parametrize("target", [np.int64(2), np.array(2), np.array([2]), np.uint8(2)], ids=repr)
    def test_one_for_all(self, net, x, target):
        cam = LayerDiffGradCam(net, net.features)
        torch.testing.assert_close(cam.attribute(x, target), cam.attribute(x, 2))

    def test_positions(self, net, x):
        cam = LayerDiffGradCam(net.features, net.features[0])
        expected = cam.attribute(x, target=[(1, 2, 3), (0, 1, 1), (2, 0, 0)])
        given = [tuple(each) for each in np.array([(1, 2, 3), (0, 1, 1), (2, 0, 0)])]
        torch.testing.assert_close(cam.attribute(x, target=given), expected)

    @pytest.mark.parametrize(
        ("target", "error", "message"),
        [
            (np.array([0, 1]), ValueError, "target: got 2 targets; the batch has 3"),
            (np.zeros((3, 2), dtype=int), ValueError, r"target: got an array of shape \(3, 2\)"),
            (np.array([0.0, 1, 2]), TypeError, "target: got 0.0 of type float"),
            (np.array([True, False, True]), TypeError, "target: got True of type bool"),
            (np.array(True), TypeError, "target: got True of type bool"),
            (np.array(["a", "b", "c"]), TypeError, "target: got 'a' of type str"),
            (np.array([0, 1, 6]), IndexError, "target: class 6 is out of range; allowed are 0 to 5"),
        ],
        ids=str,
    )
    def test_errors(self, net, x, target, error, message):
        with pytest.raises(error, match=f"^{message}"):
            LayerDiffGradCam(net, net.features).attribute(x, target)
