"""What training minimises: whose maps lie, towards which hoax, and how decisions are held."""

from __future__ import annotations

import pytest
import torch
from captum.attr import LayerGradCam

from captum_diffcam import CamMethod
from captum_diffcam.attacks import fool, hoax_map
from captum_diffcam.metrics import cam_entropy, pearson

GRAD_CAM = CamMethod(LayerGradCam)


def recorded_classes(model, batches, **options):
    """The classes whose maps a run attacks, by step. Toward a hoax nothing is asked of the honest model's maps."""
    seen = []

    class Recording(CamMethod):
        def maps(self, model, layer, images, target, **kwargs):
            seen.append(target.tolist())
            return super().maps(model, layer, images, target, **kwargs)

    fool(model, model.features, batches, hoax_map((8, 8), 3.0), methods=Recording(LayerGradCam), **options)
    return seen


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
