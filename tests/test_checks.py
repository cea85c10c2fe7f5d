"""Errors name the argument, what it must be and what it got; arrays become tensors; warnings point at the caller."""

from __future__ import annotations

import copy
import inspect

import numpy as np
import pytest
import torch
from nets import reference
from torch import nn

from captum_diffcam import GuidedDiffGradCam, LayerDiffGradCam, top_rivals
from captum_diffcam._checks import as_index, as_inputs, warn_user


@pytest.mark.parametrize("inputs", [[[1.0]], "x", None, 3.0, (), (1, 2)], ids=str)
def test_inputs(net, inputs):
    with pytest.raises(TypeError, match=r"`inputs` must be .*, got"):
        reference(net, inputs)


@pytest.mark.parametrize("grad_kwargs", ["x", {"nope": 1}, []])
def test_grad_kwargs(net, x, grad_kwargs):
    with pytest.raises(TypeError, match="`grad_kwargs` must"):
        reference(net, x, grad_kwargs=grad_kwargs)


@pytest.mark.parametrize("item", [3, np.int64(3), np.uint8(3), torch.tensor(3), np.array(3)], ids=repr)
def test_what_is_an_index(item):
    assert as_index("k", item, "an integer") == 3


@pytest.mark.parametrize("item", [True, np.True_, torch.tensor(True), 3.0, "3", None, [3]], ids=repr)
def test_what_is_none(item):
    with pytest.raises(TypeError, match=r"`k` must be an integer, got .* of type"):
        as_index("k", item, "an integer")


class TestArrays:
    @pytest.mark.parametrize(
        "form",
        [
            lambda a: a,
            lambda a: a[::-1].copy()[::-1],
            np.asfortranarray,
            lambda a: a.astype(">f4"),
            lambda a: np.lib.stride_tricks.as_strided(a, writeable=False),
        ],
        ids=["plain", "backwards", "columns first", "big-endian", "read-only"],
    )
    def test_are_taken_as_tensors(self, net, x, form):
        array = form(x.numpy())
        before = array.copy()
        cam = LayerDiffGradCam(net, net.features)
        torch.testing.assert_close(cam.attribute(array, 1), cam.attribute(x, 1))
        torch.testing.assert_close(cam.attribute((array,), 1), cam.attribute((x,), 1))
        torch.testing.assert_close(cam.attribute_rivals(array, 1).maps, cam.attribute_rivals(x, 1).maps)
        guided = GuidedDiffGradCam(net, net.features)
        torch.testing.assert_close(guided.attribute(array, 1), guided.attribute(x, 1))
        np.testing.assert_array_equal(array, before)

    @pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64", "uint8", "bool", "complex64"])
    def test_keep_their_dtype(self, dtype):
        ((tensor,), array) = (as_inputs(np.ones(3, dtype)), np.ones(3, dtype))
        assert tensor.dtype == torch.from_numpy(array).dtype

    def test_beside_a_tensor(self, x):
        tensors = as_inputs((x, x.numpy()))
        assert tensors[0] is x
        torch.testing.assert_close(tensors[1], x)

    @pytest.mark.parametrize("array", [np.array(["a"]), np.array([None]), np.array(["2020-01-01"], "datetime64[D]")])
    def test_of_other_things(self, array):
        with pytest.raises(TypeError, match=r"`inputs` must .*, got an array of dtype"):
            as_inputs(array)

    def test_as_masks(self, net, x):
        """Also those that NumPy lets nobody write to."""
        mask = np.array([True, False, False, True, False, False])
        cam = LayerDiffGradCam(net, net.features)
        expected = cam.attribute(x, 1, contrast=[0, 3])
        for form in (np.broadcast_to(mask, (3, 6)), mask[::-1].copy()[::-1]):
            torch.testing.assert_close(cam.attribute(x, 1, contrast=form), expected)


class Wrapper(nn.Module):
    def __init__(self, model) -> None:
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
class TestLayersThatDoNotRun:
    """The error says that a copy, whoever made it, has layers of its own, and what to pass instead."""

    @pytest.mark.parametrize("wrap", [lambda model: model, Wrapper])
    @pytest.mark.parametrize(
        "other",
        [
            copy.deepcopy,
            lambda net: torch.jit.trace(net, torch.zeros(1, 3, 9, 9)),
            torch.jit.script,
            lambda net: torch.export.export(net, (torch.zeros(3, 3, 9, 9),)).module(),
            torch.fx.symbolic_trace,
        ],
        ids=["a copy", "traced", "scripted", "exported", "a graph"],
    )
    def test_the_layer_of_another_model(self, net, x, other, wrap):
        with pytest.raises(ValueError, match=r"`layer` must .*(copied|exported)"):
            reference_of(wrap(other(net)), net.features, x)

    def test_its_own_layer_of_a_scripted_model(self, net, x):
        scripted = torch.jit.script(net)
        with pytest.raises((TypeError, ValueError), match=r"layer.*scripted"):
            reference_of(scripted, scripted.features, x)

    def test_a_layer_that_the_model_leaves_out(self, net, x):
        net.extra = nn.Linear(2, 2)
        with pytest.raises(ValueError, match="`layer` must run"):
            reference_of(net, net.extra, x)


def reference_of(model, layer, x):
    return LayerDiffGradCam(model, layer).attribute(x, target=1)


def test_warnings_point_at_the_caller():
    with pytest.warns(UserWarning, match="text") as caught:
        warn_user("text")
    assert caught[0].filename == __file__


def test_defaults_are_shared_by_nobody():
    """`top_rivals(5)` is the default of an argument, so it must not change."""
    default = inspect.signature(LayerDiffGradCam.attribute_rivals).parameters["rivals"].default
    assert default == top_rivals(5)
    with pytest.raises(AttributeError):
        default.k = 3
