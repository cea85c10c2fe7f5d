"""What a target may name in the model's output, and outputs that are no logits."""

from __future__ import annotations

import pytest
import torch
from nets import conv_net, images

from captum_diffcam import LayerDiffGradCam


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


@pytest.mark.parametrize("output", [{"out": 1}, (1, 2), None])
def test_outputs_that_are_no_tensor(net, x, output):
    with pytest.raises(
        TypeError, match=f"forward_func: returned {type(output).__name__}; allowed is a tensor of logits"
    ):
        LayerDiffGradCam(lambda x: net(x) is None or output, net.features).attribute(x, target=1)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_logits_that_are_not_finite(net, x, value):
    with torch.no_grad():
        net.head[-1].bias[3] = value
    with pytest.raises(ValueError, match=f"forward_func: returned the logit {value}; allowed are finite ones"):
        LayerDiffGradCam(net, net.features).attribute(x, target=1)


@pytest.mark.parametrize("wrap", [lambda z: {"out": z}, lambda z: (z, z)], ids=["dictionary", "tuple"])
def test_outputs_that_hold_the_logits(wrap):
    net, x = conv_net(), images()
    with pytest.raises(TypeError, match=r"a function around the model can pick: lambda x: model\(x\)\['out'\]"):
        LayerDiffGradCam(lambda x: wrap(net(x)), net.features).attribute(x, target=1)
