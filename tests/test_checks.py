"""Errors of arguments name the argument, what was given and what is allowed; arrays; why a layer may not run."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from nets import reference
from torch import nn

from captum_diffcam import GuidedDiffGradCam, LayerDiffGradCam
from captum_diffcam._checks import as_inputs, why_layer_did_not_run


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

    @pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64", "uint8", "bool"])
    def test_keep_their_dtype(self, dtype):
        ((tensor,), array) = (as_inputs(np.ones(3, dtype)), np.ones(3, dtype))
        assert tensor.dtype == torch.from_numpy(array).dtype

    def test_beside_a_tensor(self, x):
        given = as_inputs((x, x.numpy()))
        assert given[0] is x
        torch.testing.assert_close(given[1], x)

    @pytest.mark.parametrize("array", [np.array(["a"]), np.array([None]), np.array(["2020-01-01"], "datetime64[D]")])
    def test_of_other_things(self, array):
        with pytest.raises(TypeError, match=r"inputs: got an array of dtype .*; allowed are arrays of numbers"):
            as_inputs(array)

    def test_lists_of_them(self, x):
        with pytest.raises(TypeError, match="inputs: got list; allowed is a tensor or a tuple of tensors, or NumPy"):
            as_inputs([x.numpy()])

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


TORCHSCRIPT = ": TorchScript runs no hooks of the layers in a traced or scripted model; allowed are that model before"
GRAPH = ": a graph of torch.fx or torch.export runs a layer's operations in place of the layer; allowed are "


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
class TestWhyALayerDidNotRun:
    @pytest.mark.parametrize("wrap", [lambda model: model, Wrapper])
    def test_torchscript(self, net, x, wrap):
        for model in (torch.jit.trace(net, x), torch.jit.script(net), torch.jit.freeze(torch.jit.script(net))):
            assert why_layer_did_not_run(wrap(model), net.features).startswith(TORCHSCRIPT)
        traced = torch.jit.trace(net, x)
        assert why_layer_did_not_run(wrap(traced), traced.features).startswith(TORCHSCRIPT)
        assert why_layer_did_not_run(lambda x: traced(x), traced.features).startswith(TORCHSCRIPT)

    def test_an_exported_model(self, net, x):
        program = torch.export.export(net, (x,))
        model = program.module()
        for layer in (net.features, model.features, model.get_submodule("features.0")):
            why = why_layer_did_not_run(model, layer)
            assert why.startswith(f"{GRAPH}the model from which the graph was made, or torch.export.unflatten(program)")
        assert why_layer_did_not_run(lambda x: model(x), model.features).startswith(GRAPH)
        # What it advises is right.
        whole = torch.export.unflatten(program)
        expected = LayerDiffGradCam(net, net.features).attribute(x, 1)
        torch.testing.assert_close(LayerDiffGradCam(whole, whole.features).attribute(x, 1), expected)

    def test_a_graph_of_fx(self, net, x):
        graph = torch.fx.symbolic_trace(net)
        for model in (graph, Wrapper(graph)):
            for layer in (net.features, graph.features):
                why = why_layer_did_not_run(model, layer)
                assert why.startswith(f"{GRAPH}layers that the graph calls (head.4, head.5, head.6, for instance), and")
        last = graph.get_submodule("features.1")
        expected = LayerDiffGradCam(net, net.features).attribute(x, 1)
        torch.testing.assert_close(LayerDiffGradCam(graph, last).attribute(x, 1), expected)

    def test_the_error_tells(self, net, x):
        program = torch.export.export(net, (x,))
        for model in (torch.jit.trace(net, x), program.module(), torch.fx.symbolic_trace(net)):
            for layer in (net.features, model.features):
                with pytest.raises(ValueError, match="did not run in forward_func") as error:
                    LayerDiffGradCam(model, layer).attribute(x, 1)
                assert str(error.value).endswith(why_layer_did_not_run(model, layer))
        scripted = torch.jit.script(net)
        with pytest.raises(TypeError, match=f"register_forward_hook is not supported on ScriptModules{TORCHSCRIPT}"):
            LayerDiffGradCam(scripted, scripted.features).attribute(x, 1)

    def test_a_copy(self, net):
        why = why_layer_did_not_run(copy.deepcopy(net), net.features)
        assert why == " and is not one of its modules: a copy of a model has layers of its own"

    def test_a_function(self, net):
        why = why_layer_did_not_run(lambda x: net(x), net.features)
        assert why == "; a copy of a model, and one that was traced, scripted or exported, has layers of its own"

    def test_a_layer_that_the_model_leaves_out(self, net, x):
        """There is nothing to add, also where another part of the model is a traced one."""
        net.extra = nn.Linear(2, 2)
        net.head = torch.jit.trace(net.head, net.features(x).detach())
        assert why_layer_did_not_run(net, net.extra) == ""
