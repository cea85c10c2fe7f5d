"""Errors of arguments name the argument, what was given and what is allowed."""

from __future__ import annotations

import pytest
from nets import reference

from captum_diffcam import LayerDiffGradCam


@pytest.mark.parametrize("inputs", [[[1.0]], "x", None, 3.0])
def test_inputs(net, inputs):
    with pytest.raises(TypeError, match=f"inputs: got {type(inputs).__name__}"):
        LayerDiffGradCam(net, net.features).attribute(inputs, target=1)


@pytest.mark.parametrize("inputs", [(), (1, 2)])
def test_tuples_of_inputs(net, inputs):
    with pytest.raises(TypeError, match=r"inputs: got \(.*\); allowed is a tensor or a tuple of tensors"):
        reference(net, inputs)


@pytest.mark.parametrize(
    ("grad_kwargs", "message"),
    [("x", "grad_kwargs: got str; allowed is a dict"), ({"nope": 1}, "grad_kwargs: got 'nope'; allowed are")],
)
def test_grad_kwargs(net, x, grad_kwargs, message):
    with pytest.raises(TypeError, match=message):
        reference(net, x, grad_kwargs=grad_kwargs)
