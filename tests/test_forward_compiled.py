"""Compiled models: the map of the model as it was written, and nothing is compiled for it."""

from __future__ import annotations

import copy
import threading

import pytest
import torch
from nets import Net

from captum_diffcam import LayerDiffGradCam, LayerDiffGradCamPlusPlus
from captum_diffcam._internals import differentiable_operations as uncompiled

pytestmark = pytest.mark.filterwarnings("default")  # Dynamo looks at .grad of every tensor


def whole(net, **options):
    return torch.compile(net, **options), net.features


def in_place(net, **options):
    net.compile(**options)
    return net, net.features


def function(net, **options):
    return torch.compile(lambda x: net(x), **options), net.features


def layer(net, **options):
    compiled = Net(torch.compile(net.features, **options), net.head)
    return compiled, compiled.features


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize(
    ("form", "fullgraph", "method"),
    [
        *(
            (form, fullgraph, LayerDiffGradCam)
            for form in (whole, in_place, function, layer)
            for fullgraph in (False, True)
        ),
        (whole, True, LayerDiffGradCamPlusPlus),
    ],
)
def test_the_map_of_the_model_as_written(net, x, method, form, fullgraph):
    """Autograd sees the graphs of this backend as one function each, as it does those of inductor."""
    expected = method(net, net.features).attribute(x, target=1)
    logits = net(x)
    model, of_it = form(copy.deepcopy(net), backend="aot_eager", fullgraph=fullgraph)
    torch.testing.assert_close(model(x), logits)
    compiled = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    for batch in (x, x[:2], x):
        maps = method(model, of_it).attribute(batch, target=1)
        torch.testing.assert_close(maps, expected[: len(batch)])
    torch.testing.assert_close(model(x), logits)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == compiled > 0


def graphs_of(model, x) -> int:
    """How many graphs a call compiles."""
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    model(x)
    return torch._dynamo.utils.counters["stats"]["unique_graphs"] - before


def test_afterwards_it_is_as_before(net, x):
    with pytest.raises(KeyError), uncompiled(), uncompiled():
        raise KeyError
    assert graphs_of(torch.compile(net, backend="aot_eager"), x) == 1


def test_threads_that_overlap(net, x):
    """The first one out does not end it for the second, nor the second begin it for good."""
    second_is_in, first_is_out = threading.Event(), threading.Event()
    seen = []

    def second():
        with uncompiled():
            second_is_in.set()
            assert first_is_out.wait(10)
            seen.append(graphs_of(torch.compile(net, backend="aot_eager"), x))

    thread = threading.Thread(target=second)
    with uncompiled():
        thread.start()
        assert second_is_in.wait(10)
    first_is_out.set()
    thread.join()
    assert seen == [0]
    assert graphs_of(torch.compile(net, backend="aot_eager"), x) == 1
