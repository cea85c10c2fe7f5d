"""An empty contrast set is Captum's LayerGradCam, whatever the architecture and the arguments."""

from __future__ import annotations

import pytest
import torch
import torchvision
from captum.attr import LayerGradCam
from nets import conv_net, images
from torch import nn

from captum_diffcam import LayerDiffGradCam

# At this size the last layer of AlexNet has one position.
pytestmark = pytest.mark.filterwarnings("ignore:.*has one position")

LAYERS = {
    "alexnet": "features",
    "densenet121": "features",
    "efficientnet_b0": "features",
    "googlenet": "inception5b",
    "mobilenet_v3_small": "features.3",
    "resnet18": "layer3",
    "resnext50_32x4d": "layer4",
    "shufflenet_v2_x0_5": "conv5",
    "squeezenet1_1": "features",
    "vgg11_bn": "features.25",
}


@pytest.fixture(scope="module", params=LAYERS)
def classifier(request):
    torch.manual_seed(0)
    extra = {"init_weights": False} if request.param in ("googlenet", "vgg11_bn") else {}
    model = torchvision.models.get_model(request.param, weights=None, **extra).eval()
    return model, model.get_submodule(LAYERS[request.param])


@pytest.mark.parametrize("kwargs", [{}, {"attribute_to_layer_input": True}, {"attr_dim_summation": False}], ids=str)
def test_empty_set_is_grad_cam(classifier, kwargs):
    model, layer = classifier
    x = torch.rand(2, 3, 64, 64)
    expected = LayerGradCam(model, layer).attribute(x, target=[3, 7], **kwargs).detach()
    maps = LayerDiffGradCam(model, layer).attribute(x, target=[3, 7], contrast=[], **kwargs)
    torch.testing.assert_close(maps, expected, rtol=1e-4, atol=1e-6 * float(expected.abs().max()))


@pytest.mark.parametrize("layer", ["layer4.1.conv1", "layer4.0.conv1", "layer4.0.downsample.0", "layer3"])
def test_layer_inputs_beside_a_skip_connection(layer):
    """What goes into these layers is read by others too, before them or after them."""
    torch.manual_seed(0)
    model = torchvision.models.resnet18(weights=None).eval()
    x = torch.rand(2, 3, 64, 64)
    kwargs = {"target": [3, 7], "attribute_to_layer_input": True}
    expected = LayerGradCam(model, model.get_submodule(layer)).attribute(x, **kwargs).detach()
    for _ in range(2):
        maps = LayerDiffGradCam(model, model.get_submodule(layer)).attribute(x, **kwargs, contrast=[])
        torch.testing.assert_close(maps, expected, rtol=1e-4, atol=1e-6 * float(expected.abs().max()))
        model.requires_grad_(False)


def test_a_difference_written_by_hand(classifier):
    model, layer = classifier
    x = torch.rand(2, 3, 64, 64)

    def difference(x):
        z = model(x)
        return z[:, [3]] - z[:, [7]]

    expected = LayerGradCam(difference, layer).attribute(x, target=0).detach()
    maps = LayerDiffGradCam(model, layer).attribute(x, target=3, contrast=7)
    torch.testing.assert_close(maps, expected, rtol=1e-3, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize(
    "target",
    [1, (1,), torch.tensor(1), torch.tensor([1]), [1, 2, 3], torch.tensor([1, 2, 3]), [(1,), (2,), (3,)]],
    ids=str,
)
def test_every_form_of_target(target):
    net, x = conv_net(), images()
    expected = LayerGradCam(net, net.features).attribute(x, target=target)
    maps = LayerDiffGradCam(net, net.features).attribute(x, target=target, contrast=[])
    torch.testing.assert_close(maps, expected.detach())


class Segmenter(nn.Module):
    """Logits (N, 4, 7, 7)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3)
        self.head = nn.Conv2d(5, 4, 3, padding=1)

    def forward(self, x):
        return self.head(self.conv(x).relu())


@pytest.mark.parametrize("target", [(2, 3, 4), [(2, 3, 4), (0, 6, 6), (1, 0, 0)]], ids=str)
def test_outputs_with_positions(target):
    net, x = Segmenter(), images()
    expected = LayerGradCam(net, net.conv).attribute(x, target=target)
    torch.testing.assert_close(
        LayerDiffGradCam(net, net.conv).attribute(x, target=target, contrast=[]), expected.detach()
    )
    others = [(3, *t[1:]) for t in target] if isinstance(target, list) else (3, *target[1:])
    pairwise = expected - LayerGradCam(net, net.conv).attribute(x, target=others)
    torch.testing.assert_close(
        LayerDiffGradCam(net, net.conv).attribute(x, target=target, contrast=3), pairwise.detach()
    )


def test_a_whole_region_through_a_reduction_of_ones_own():
    net, x = Segmenter(), images()
    mask = torch.zeros(7, 7, dtype=torch.bool)
    mask[2:4, 1:5] = True

    def region(x):
        return net(x)[..., mask].mean(-1)

    cells = [(int(i), int(j)) for i, j in mask.nonzero()]
    maps = LayerDiffGradCam(region, net.conv).attribute(x, target=2, contrast=[0, 1], reduction="mean")
    single = [
        LayerDiffGradCam(net, net.conv).attribute(x, target=(2, *cell), contrast=[0, 1], reduction="mean")
        for cell in cells
    ]
    torch.testing.assert_close(maps, torch.stack(single).mean(0))


def test_trailing_dimensions_of_one_need_no_position():
    net, x = conv_net(), images()
    maps = LayerDiffGradCam(lambda x: net(x)[..., None, None], net.features).attribute(x, target=[1, 2, 3])
    torch.testing.assert_close(maps, LayerDiffGradCam(net, net.features).attribute(x, target=[1, 2, 3]))


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)], ids=str)
def test_one_number_per_example_needs_no_target(shape):
    """A single logit is the log-odds already: there is nothing to contrast it with."""
    net, x = conv_net(classes=1), images()

    def forward(x):
        return net(x).reshape(shape)

    expected = LayerGradCam(forward, net.features).attribute(x)
    torch.testing.assert_close(LayerDiffGradCam(forward, net.features).attribute(x), expected.detach())


@pytest.mark.parametrize("extra", [2.0, (2.0, torch.ones(3, 1))], ids=["one", "two"])
def test_additional_forward_args(extra):
    net, x = conv_net(), images()

    def forward(x, factor, offset=0.0):
        return factor * net(x) + offset

    expected = LayerGradCam(forward, net.features).attribute(x, 1, extra)
    torch.testing.assert_close(
        LayerDiffGradCam(forward, net.features).attribute(x, 1, extra, contrast=[]), expected.detach()
    )


def test_a_forward_without_arguments():
    net, x = conv_net(), images()
    expected = LayerGradCam(net, net.features).attribute(x, target=1)
    maps = LayerDiffGradCam(lambda: net(x), net.features).attribute(x, target=1, contrast=[])
    torch.testing.assert_close(maps, expected.detach())
