"""Which layer is explained where none is named: found by one run that leaves no trace."""

from __future__ import annotations

import copy

import pytest
import torch
from nets import Net, conv_net, images, linear_net
from torch import Tensor, nn
from torchvision.models import SwinTransformer, VisionTransformer

from captum_diffcam import LayerDiffGradCam, last_spatial_layer, spatial_layers

X = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(3))


def vit(**kwargs: object) -> VisionTransformer:
    """Two blocks over 4 x 4 patches and a class token; its head is zeros, as torchvision begins."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=5, **kwargs).eval()


class Pooled(nn.Module):
    """A ViT that pools its patches, as timm's and MLP-Mixer do."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.block = nn.Conv2d(3, 16, 8, stride=8), nn.TransformerEncoderLayer(16, 2, 32)
        self.block.self_attn.batch_first = True
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 5)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.block(self.patches(x).flatten(2).mT)
        return self.head(self.norm(tokens).mean(dim=1))


class ChannelsLast(nn.Module):
    """The end of a Swin as timm has it: (N, H, W, C) to the last normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.norm, self.head = nn.Conv2d(3, 16, 8, stride=8), nn.LayerNorm(16), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.patches(x).permute(0, 2, 3, 1)).mean(dim=(1, 2)))


class SharedReLU(nn.Module):
    """One ReLU for two convolutions, so that the last map has a name as the pooling's input alone."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.relu = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.ReLU()
        self.pool, self.head = nn.AdaptiveAvgPool2d(1), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(self.relu(self.two(self.relu(self.one(x))))).flatten(1))


@pytest.mark.parametrize(
    ("model", "name", "layout"),
    [
        (conv_net(), "head.2", None),
        (SharedReLU(), "pool:input", None),
        (vit(), "encoder.layers.encoder_layer_1.ln_1", "vit"),
        (SwinTransformer([4, 4], 8, [1, 1], [1, 2], [2, 2], num_classes=5).eval(), "permute", None),
        (Pooled(), "norm", "vit"),
        (ChannelsLast(), "norm", "swin"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else None,
)
def test_the_last_layer_is_ready_to_be_explained(model, name, layout):
    chosen = last_spatial_layer(model, X)
    assert (chosen.name, chosen.layout, chosen.attribute_to_layer_input) == (name, layout, name.endswith(":input"))
    assert chosen.layer is model.get_submodule(name.removesuffix(":input"))
    assert chosen in spatial_layers(model, X)
    for head in model.modules():
        if isinstance(head, nn.Linear) and not head.weight.any():
            nn.init.eye_(head.weight)
    cam = LayerDiffGradCam(model, chosen.layer, layout=chosen.layout)
    maps = cam.attribute(X, 1, contrast=[2], attribute_to_layer_input=chosen.attribute_to_layer_input)
    assert maps.shape[:2] == (2, 1)
    assert maps.shape[2:].numel() > 1
    assert maps.any()


def test_all_layers_in_the_order_of_the_forward(net, x):
    names = [chosen.name for chosen in spatial_layers(net, x)]
    # The pooling leaves 2 x 2 positions; what a module puts out is not named again as what the next one takes in.
    assert names == ["features.0", "features.1", "features", "head.0", "head.1", "head.2"]


def test_one_dimension_three_and_tokens_of_a_sequence():
    for dims in (1, 3):
        assert last_spatial_layer(conv_net(dims), images(2, dims)).name == "head.2"
    text = nn.Sequential(nn.Embedding(9, 16), nn.LayerNorm(16), nn.Flatten(), nn.Linear(12 * 16, 5))
    chosen = last_spatial_layer(text, torch.arange(12)[None] % 9)
    assert (chosen.name, chosen.layout) == ("1", "swin")
    # As long as images have colours.
    short = nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.Flatten(), nn.Linear(3 * 16, 5))
    assert last_spatial_layer(short, torch.rand(2, 3, 8)).layout == "swin"


def test_a_function_around_the_model_and_further_arguments():
    net = SharedReLU()
    chosen = last_spatial_layer(lambda x, factor: {"logits": factor * net(x)}["logits"], X, 2.0)
    assert chosen.layer is net.pool


def test_one_example_will_do(net, x):
    assert last_spatial_layer(net, x[:1]) == last_spatial_layer(net, x) == last_spatial_layer(net, x[:1].numpy())


def test_frozen_weights_and_backbones_without_gradients(x):
    net = conv_net().requires_grad_(False)

    class Cut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                x = self.net.features(x)
            return self.net.head[1:](x)

    assert last_spatial_layer(net, x).name == last_spatial_layer(conv_net(), x).name
    assert last_spatial_layer(Cut(), x).layer is net.head[2]
    with torch.inference_mode():
        assert last_spatial_layer(net, x.clone()).layer is net.head[2]


@pytest.mark.parametrize("make", [conv_net, vit])
def test_weights_that_were_made_in_inference_mode(make):
    expected = last_spatial_layer(make(), X)
    with torch.inference_mode():
        made = make()
    layer = last_spatial_layer(made, X)
    assert (layer.name, layer.layout) == (expected.name, expected.layout)


def test_a_blank_image_tells_it_too():
    net = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert last_spatial_layer(net, torch.zeros(1, 3, 9, 9)).name == "1"


def test_a_model_without_memory():
    with torch.device("meta"):
        assert last_spatial_layer(conv_net(), torch.zeros(1, 3, 9, 9)).name == "head.2"


def test_nothing_is_left_behind(x):
    net = Net(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout()),
        nn.Sequential(nn.Flatten(), nn.Linear(196, 3)),
    )
    before, state = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    x.requires_grad_()
    with torch.no_grad():
        assert last_spatial_layer(net, x).name == "features"
        assert not torch.is_grad_enabled()
    assert torch.get_rng_state().equal(state)
    assert net.training
    assert x.grad is None
    for module in net.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    for name, value in net.state_dict().items():
        assert value.equal(before[name])
    assert all(weight.grad is None for weight in net.parameters())


def test_hooks_are_gone_after_an_error(net, x):
    with pytest.raises(RuntimeError):
        last_spatial_layer(net, x[:, :2])
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


@pytest.mark.parametrize(
    ("model", "inputs", "error", "message"),
    [
        ("resnet50", X, TypeError, "`forward_func`"),
        (linear_net(), X[:, 0, 0, :4], ValueError, "`forward_func`.*none"),
        (nn.Conv2d(3, 5, 3), X, ValueError, r"`forward_func`.*\(2, 5, 30, 30\)"),
        (vit(), [X], TypeError, "`inputs`"),
        (
            nn.Sequential(nn.Flatten(2), nn.Linear(1024, 7), nn.Flatten(), nn.Linear(21, 5)),
            X,
            ValueError,
            r"`forward_func`.*: 0 \(2, 3, 1024\), 1 \(2, 3, 7\)\.",
        ),
    ],
)
def test_errors_name_what_there_is(model, inputs, error, message):
    with pytest.raises(error, match=message):
        last_spatial_layer(model, inputs)
