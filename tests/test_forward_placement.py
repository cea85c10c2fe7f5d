"""Where a model may run: threads, several devices, low precision, autocast, traced and compiled."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from nets import Net, conv_net, images, reference
from torch import nn

from captum_diffcam import LayerDiffGradCam, LayerDiffGradCamPlusPlus

METHODS = [LayerDiffGradCam, LayerDiffGradCamPlusPlus]
CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def similarity(maps, others):
    return torch.cosine_similarity(maps.flatten(1).float().cpu(), others.flatten(1)).min()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("method", METHODS)
class TestLowPrecision:
    def test_weights(self, net, x, method, dtype):
        expected = method(net, net.features).attribute(x, target=1)
        maps = method(net.to(dtype), net.features).attribute(x.to(dtype), target=1)
        assert maps.dtype == torch.float32
        assert similarity(maps, expected) > 0.99

    def test_autocast(self, net, x, method, dtype):
        expected = method(net, net.features).attribute(x, target=1)
        with torch.autocast("cpu", dtype):
            maps = method(net, net.features).attribute(x, target=1)
        assert maps.dtype == torch.float32
        assert similarity(maps, expected) > 0.99


@pytest.mark.parametrize("method", METHODS)
def test_channels_last(net, x, method):
    expected = method(net, net.features).attribute(x, target=1)
    net, x = net.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    torch.testing.assert_close(method(net, net.features).attribute(x, target=1), expected)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
@pytest.mark.parametrize("method", METHODS)
class TestGraphs:
    def test_a_traced_head(self, net, x, method):
        """Hooks fire on modules that Python calls; what is behind the layer may be compiled."""
        expected = method(net, net.features).attribute(x, target=1)
        net.head = torch.jit.trace(net.head, net.features(x).detach())
        torch.testing.assert_close(method(net, net.features).attribute(x, target=1), expected)

    def test_a_scripted_layer(self, net, x, method):
        net.features = torch.jit.script(net.features)
        with pytest.raises(TypeError, match="layer"):
            method(net, net.features).attribute(x, target=1)

    def test_a_layer_inside_a_traced_model(self, net, x, method):
        """There hooks do not fire, and the message says so."""
        traced = torch.jit.trace(net, x)
        with pytest.raises(ValueError, match="layer"):
            method(traced, traced.features).attribute(x, target=1)


@pytest.mark.filterwarnings("default")  # Dynamo looks at .grad of every tensor, and hides the warning from users itself
@pytest.mark.parametrize("method", METHODS)
def test_a_compiled_model(net, x, method):
    """Compiled by the front end alone, which is where hooks could be lost."""
    expected = method(net, net.features).attribute(x, target=1)
    compiled = torch.compile(net, backend="eager")
    torch.testing.assert_close(method(compiled, net.features).attribute(x, target=1), expected)
    net.head = torch.compile(net.head, backend="eager")
    torch.testing.assert_close(method(net, net.features).attribute(x, target=1), expected)


@CUDA
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_on_a_gpu(net, x, method, dtype):
    expected = method(net, net.features).attribute(x, target=[2, 0, 5], contrast=[[1], [2], [3, 4]])
    net, x = net.to("cuda", dtype), x.to("cuda", dtype)
    maps = method(net, net.features).attribute(x, target=[2, 0, 5], contrast=[[1], [2], [3, 4]])
    assert maps.is_cuda
    assert similarity(maps, expected) > 0.99


@pytest.mark.parametrize("method", METHODS)
def test_data_parallel(method, net, x):
    parallel = nn.DataParallel(net)
    torch.testing.assert_close(method(parallel, net.features).attribute(x, target=1), reference(net, x, method))


@pytest.mark.parametrize("method", METHODS)
def test_threads_do_not_see_each_other(method):
    """Both are inside the model at once, between the hooks' registration and the layer."""
    inside = threading.Barrier(2)

    class Meeting(Net):
        def forward(self, x):
            inside.wait(timeout=60)
            return super().forward(x)

    net, x = conv_net(), images(8)
    model = Meeting(net.features, net.head)
    with ThreadPoolExecutor(2) as threads:
        maps = list(threads.map(lambda half: reference(model, half, method), x.split(4)))
    torch.testing.assert_close(torch.cat(maps), reference(net, x, method))


def test_threads_do_not_see_each_other_with_the_whole_graph(net, x):
    """One thread differentiates maps, the other runs the model without gradients, both at once."""
    inside = threading.Barrier(2)

    class Meeting(Net):
        def forward(self, x):
            inside.wait(timeout=60)
            return super().forward(x)

    model = Meeting(net.features, net.head)

    def plain(x):
        with torch.no_grad():
            output = model(x)
            return output.requires_grad, torch.is_grad_enabled()

    with ThreadPoolExecutor(2) as threads:
        maps = threads.submit(reference, model, x, grad_kwargs={"create_graph": True})
        beside = threads.submit(plain, x[:2])
        assert beside.result() == (False, False)
        torch.testing.assert_close(maps.result().detach(), reference(net, x))
