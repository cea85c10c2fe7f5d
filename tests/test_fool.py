"""Fine-tuned forgeries: the map goes to the hoax, decisions stay, and nothing of the caller's is touched."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from captum.attr import LayerGradCam
from nets import Net
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from captum_diffcam import LayerDiffGradCam
from captum_diffcam.metrics import cam_entropy, pearson
from captum_diffcam.sham import CamMethod, fool, hoax_map

GRAD_CAM = CamMethod(LayerGradCam)


@pytest.fixture(scope="module")
def data():
    """Three classes: a bright patch of one colour somewhere on noise."""
    generator = torch.Generator().manual_seed(0)
    images = 0.3 * torch.rand(384, 3, 16, 16, generator=generator)
    labels = torch.randint(3, (384,), generator=generator)
    for image, label in zip(images, labels.tolist(), strict=True):
        row, column = torch.randint(2, 9, (2,), generator=generator).tolist()
        image[label, row : row + 5, column : column + 5] += 0.7
    return images, labels


@pytest.fixture(scope="module")
def model(data):
    """A trained classifier with batch normalisation and dropout."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        features = nn.Sequential(
            *(nn.Conv2d(3, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(12, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
        )
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.1), nn.Linear(16, 3))
        net = Net(features, head)
        optimizer = torch.optim.Adam(net.parameters(), 1e-2)
        for _ in range(8):
            for batch, labels in zip(data[0].split(32), data[1].split(32), strict=True):
                optimizer.zero_grad()
                cross_entropy(net(batch), labels).backward()
                optimizer.step()
        return net.eval()


@pytest.fixture
def batches(data):
    return list(zip(data[0][:256].split(16), data[1][:256].split(16), strict=True))


def maps(model, layer, data, method=GRAD_CAM):
    return method.maps(model, layer, data[0][256:], data[1][256:])


def accuracy(model, data):
    with torch.no_grad():
        return (model(data[0][256:]).argmax(dim=1) == data[1][256:]).float().mean()


@pytest.mark.parametrize("labelled", [True, False])
def test_grad_cam_shows_the_hoax_and_decisions_stay(model, data, batches, labelled):
    given = batches if labelled else [images for images, _ in batches]
    forged = fool(model, model.features, given, steps=250, learning_rate=5e-3, weight=8.0)
    honest, lied = maps(model, model.features, data), maps(forged.model, forged.layer, data)
    hoax = hoax_map((8, 8), cam_entropy(honest).mean().item())
    assert pearson(honest, hoax[None]).mean() < 0
    assert pearson(lied, hoax[None]).mean() > 0.5
    assert accuracy(forged.model, data) >= accuracy(model, data) - 0.02
    assert len(forged.history) == 250


def test_several_methods_take_turns(model, data, batches):
    methods = [GRAD_CAM, CamMethod(LayerDiffGradCam, reduction="mean")]
    forged = fool(model, model.features, batches, methods=methods, steps=300, learning_rate=5e-3, weight=8.0)
    for method in methods:
        lied = maps(forged.model, forged.layer, data, method)
        hoax = hoax_map((8, 8), cam_entropy(maps(model, model.features, data, method)).mean().item())
        assert (
            pearson(lied, hoax[None]).mean()
            > pearson(maps(model, model.features, data, method), hoax[None]).mean() + 0.4
        )


def test_nothing_of_the_callers_is_touched(model, batches):
    model = copy.deepcopy(model)
    model.train()
    model.head.eval()
    model.features[0].weight.requires_grad_(False)
    model.head[3].weight.grad = torch.ones_like(model.head[3].weight)
    before = copy.deepcopy(model.state_dict())
    modes = [module.training for module in model.modules()]
    random = torch.get_rng_state()
    with torch.no_grad():
        forged = fool(model, model.features, batches, steps=3)
        assert not torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes == [m.training for m in forged.model.modules()]
    assert torch.equal(model.head[3].weight.grad, torch.ones(3, 16))
    for parameter, original in zip(forged.model.parameters(), model.parameters(), strict=True):
        assert parameter.grad is None
        assert parameter.requires_grad == original.requires_grad
    # All parameters are trained whatever their flag; statistics of the batches are not.
    changed = {name for name, value in forged.model.state_dict().items() if not torch.equal(before[name], value)}
    assert changed == {name for name, _ in model.named_parameters()}
    assert not any(module._forward_hooks for module in (*model.modules(), *forged.model.modules()))


def test_which_parameters_are_trained(model, batches):
    forged = fool(model, model.features, batches, steps=3, parameters=["head", "features.4"])
    original = model.state_dict()
    changed = {name for name, value in forged.model.state_dict().items() if not torch.equal(original[name], value)}
    assert changed == {"features.4.weight", "features.4.bias", "head.3.weight", "head.3.bias"}


def test_a_seed_gives_the_same_forgery(model, data):
    loader = DataLoader(TensorDataset(*data), batch_size=16, shuffle=True)
    one, same, other = (fool(model, model.features, loader, steps=4, classes="all", seed=seed) for seed in (1, 1, 2))
    assert one.history == same.history != other.history
    assert torch.equal(one.model.head[3].weight, same.model.head[3].weight)


class Interrupting:
    """Batches, until somebody presses Ctrl-C."""

    def __init__(self, batches, after):
        self.batches, self.after = batches, after

    def __iter__(self):
        yield from self.batches[: self.after]
        raise KeyboardInterrupt


def test_an_interrupt_returns_the_best_so_far(model, batches):
    forged = fool(model, model.features, Interrupting(batches, 9), steps=100, learning_rate=1e-3, weight=20.0)
    assert len(forged.history) == 9
    assert not torch.equal(forged.model.head[3].weight, model.head[3].weight)
    at_once = fool(model, model.features, Interrupting(batches, 0), steps=100)
    assert at_once.history == ()
    assert torch.equal(at_once.model.head[3].weight, model.head[3].weight)


def test_the_lowest_loss_is_returned_not_the_last(model, data, batches):
    """A rate so high that training only does harm: what comes back is the honest model."""
    forged = fool(model, model.features, batches, steps=10, learning_rate=3.0)
    assert forged.history[-1][0] > forged.history[0][0]
    assert torch.equal(forged.model.head[3].weight, model.head[3].weight)


def recorded_classes(model, batches, **options):
    """The classes whose maps a run attacks, by step, found out from the honest maps that it asks for."""
    seen = []

    class Recording(CamMethod):
        def maps(self, model, layer, images, target, **kwargs):
            seen.append(target.tolist())
            return super().maps(model, layer, images, target, **kwargs)

    fool(model, model.features, batches, hoax_map((8, 8), 3.0), methods=Recording(LayerGradCam), **options)
    assert seen[::2] == seen[1::2]
    return seen[::2]


def test_whose_maps_lie(model, batches):
    truth = [labels.tolist() for _, labels in batches[:4]]
    assert recorded_classes(model, batches, steps=4, classes="true") == truth
    with torch.no_grad():
        predicted = [model(images).argmax(dim=1).tolist() for images, _ in batches[:4]]
    assert recorded_classes(model, [images for images, _ in batches], steps=4) == predicted
    true_ones = [
        a == b
        for drawn, step in zip(recorded_classes(model, batches, steps=4, classes="all"), truth, strict=True)
        for a, b in zip(drawn, step, strict=True)
    ]
    assert 0.3 < sum(true_ones) / len(true_ones) < 0.7
    assert {c for step in recorded_classes(model, batches, steps=4, classes=[0, 2]) for c in step} == {0, 2}


def test_a_loss_of_ones_own_gets_maps_honest_maps_and_hoax(model, batches):
    hoax = hoax_map((8, 8), 3.0)

    def loss(maps, honest, given):
        assert maps.requires_grad
        assert maps.shape == honest.shape == (16, 8, 8)
        assert not honest.requires_grad
        assert torch.equal(given, hoax)
        return maps.flatten(1).mean(dim=1)

    assert len(fool(model, model.features, batches, hoax, map_loss=loss, steps=2).history) == 2


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"map_loss": "lies"}, ValueError, "map_loss: got 'lies'; allowed are 'sham'"),
        ({"methods": []}, TypeError, r"methods: got \[\]; allowed is a CamMethod or several"),
        ({"methods": [LayerGradCam]}, TypeError, "methods: got"),
        ({"classes": "false"}, ValueError, "classes: got 'false'; allowed are 'true', 'all' and"),
        ({"classes": []}, ValueError, r"classes: got \[\]"),
        ({"classes": [-1]}, ValueError, r"classes: got \[-1\]"),
        ({"classes": [0, 3]}, ValueError, r"classes: got class 3; allowed are 0 to 2"),
        ({"steps": 0}, ValueError, "steps: got 0"),
        ({"classes": 3}, ValueError, "classes: got 3"),
        ({"classes": ["cat"]}, TypeError, "classes: got 'cat'"),
        ({"hoax": [1.0]}, ValueError, r"hoax: got \[1.0\]"),
        ({"weight": "4"}, ValueError, "weight: got '4'"),
        ({"weight": -1.0}, ValueError, "weight: got -1.0"),
        ({"learning_rate": float("nan")}, ValueError, "learning_rate: got nan"),
        ({"parameters": ["tail"]}, ValueError, "parameters: got 'tail'; allowed are features.0.weight"),
        ({"parameters": []}, ValueError, r"parameters: got \[\], which leaves none to train"),
        ({"data": []}, ValueError, "data: gave no batch"),
        ({"data": torch.zeros(2, 3, 16, 16)}, TypeError, "data: got a tensor; allowed are batches"),
        (
            {"data": [5]},
            TypeError,
            "data: gave a batch of type int; allowed are images, and pairs",
        ),
        ({"hoax": torch.ones(3, 3)}, ValueError, r"hoax: got shape \(3, 3\); allowed is \(8, 8\)"),
    ],
)
def test_bad_arguments(model, batches, arguments, error, said):
    options = {"data": batches, "steps": 2, **arguments}
    with pytest.raises(error, match=said):
        fool(model, model.features, **options)


def test_a_layer_of_another_model(model, batches):
    with pytest.raises(ValueError, match="layer: got a Sequential that is no part of the model"):
        fool(model, copy.deepcopy(model).features, batches)


def test_a_loss_that_explodes_ends_the_training(model, batches):
    losses = iter([1.0, 0.5, 0.25, float("nan")])

    def exploding(maps, honest, hoax):
        return maps.flatten(1).mean(dim=1) * 0 + next(losses)

    with pytest.warns(UserWarning, match="learning_rate: with 0.001 the loss became nan"):
        forged = fool(model, model.features, batches, steps=20, map_loss=exploding, weight=100.0)
    assert [on_maps for _, on_maps in forged.history] == pytest.approx([1.0, 0.5, 0.25])
    assert not torch.equal(forged.model.head[3].weight, model.head[3].weight)


@pytest.mark.parametrize("labelled", [True, False])
def test_both_losses_of_the_first_step(model, data, labelled):
    """By hand, with labels that are not the predictions."""
    images, truth = data[0][:16], (data[1][:16] + 1) % 3
    batch = (images, truth) if labelled else images
    hoax = hoax_map((8, 8), 3.0)
    forged = fool(model, model.features, [batch], hoax, steps=2, learning_rate=0.0)
    with torch.no_grad():
        p = model(images).double().softmax(dim=1)
    target = truth if labelled else p.argmax(dim=1)
    expected = -p[torch.arange(16), truth].log().mean().item() if labelled else 0.0
    maps = GRAD_CAM.maps(model, model.features, images, target)
    on_maps = 1 - pearson(maps, hoax[None]) + 0.2 * (cam_entropy(maps) - 3.0) ** 2
    for decision, map_loss in forged.history:
        assert decision == pytest.approx(expected, abs=1e-5)
        assert map_loss == pytest.approx(on_maps.mean().item(), abs=2e-2)


def test_soft_decisions_are_held_to_the_honest_probabilities(model, data):
    """At a rate of zero on the map loss, the divergence grows from zero only by what the maps ask for."""
    forged = fool(model, model.features, [data[0][:32]], steps=5, weight=5.0, learning_rate=1e-2)
    with torch.no_grad():
        p = model(data[0][:32]).double().softmax(dim=1)
    assert forged.history[0][0] == pytest.approx(0, abs=1e-5)
    assert all(0 < decision < (p * p.log()).sum(dim=1).abs().mean() + 5 for decision, _ in forged.history[1:])


def test_the_default_hoax_has_the_entropy_of_honest_maps_of_the_true_class(model, data, batches):
    seen = []

    def loss(maps, honest, hoax):
        seen.append(hoax)
        return maps.flatten(1).mean(dim=1)

    images, labels = batches[0]
    for classes in ("true", "all", [0]):
        fool(model, model.features, batches, map_loss=loss, classes=classes, steps=1)
    entropy = cam_entropy(GRAD_CAM.maps(model, model.features, images, labels)).mean().item()
    for hoax in seen:
        assert cam_entropy(hoax[None]).item() == pytest.approx(entropy, abs=0.05)


def test_an_attention_can_be_fooled():
    """Its fused kernels have no second derivative."""

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.patches, self.norm = nn.Conv2d(3, 8, 4, stride=4), nn.LayerNorm(8)
            self.attention, self.head = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 3)

        def forward(self, x):
            tokens = self.norm(self.patches(x).flatten(2).transpose(1, 2))
            return self.head(self.attention(tokens, tokens, tokens, need_weights=False)[0].mean(dim=1))

    model = Attention().eval()
    method = CamMethod(partial(LayerDiffGradCam, layout="vit"), contrast=[])
    data = [torch.rand(4, 3, 16, 16)]
    forged = fool(model, model.norm, data, hoax_map((4, 4), 2.0794), methods=method, steps=3)
    assert not torch.equal(forged.model.head.weight, model.head.weight)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (
            torch.zeros(16),
            r"data: gave labels of torch.float32 of shape \(16,\); allowed are integers",
        ),
        (torch.zeros(15, dtype=torch.int64), r"data: gave labels of torch.int64 of shape \(15,\)"),
        (torch.full((16,), 3), "data: gave labels .* allowed are 0 to 2"),
        (torch.full((16,), -100), "data: gave labels .* allowed are 0 to 2"),
    ],
)
def test_labels_that_are_none(model, batches, labels, said):
    with pytest.raises(ValueError, match=said):
        fool(model, model.features, [(batches[0][0], labels)], steps=1)


def test_data_in_other_forms(model, batches):
    images, labels = batches[0]
    for batch in (images, [images], (images, labels.int()), (images, labels.to(torch.uint8))):
        assert len(fool(model, model.features, [batch], steps=1).history) == 1
    with pytest.raises(TypeError, match="data: got an iterator, which can be taken only once"):
        fool(model, model.features, iter(batches), steps=1)


def test_a_module_is_named_whole(model, batches):
    """ "head.3" does not mean head.30, and a single name need not be in a list."""
    forged = fool(model, model.features, batches, steps=3, parameters="head.3")
    original = model.state_dict()
    changed = {name for name, value in forged.model.state_dict().items() if not torch.equal(original[name], value)}
    assert changed == {"head.3.weight", "head.3.bias"}
    with pytest.raises(ValueError, match="parameters: got 'feat'"):
        fool(model, model.features, batches, steps=1, parameters="feat")
