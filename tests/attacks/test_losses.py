"""The map losses against literal re-derivations in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from captum_diffcam.attacks import hoax_map
from captum_diffcam.attacks.losses import LOSSES, resolve_map_loss

HOAX = hoax_map((4, 5), entropy=math.log(6)).double()


@pytest.fixture
def maps():
    return torch.randn(3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def clean_maps():
    return torch.randn(3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def entropy(a):
    p = np.maximum(a, 0) / np.maximum(a, 0).sum()
    return -sum(q * math.log(q) for q in p.ravel() if q > 0)


def sham(a, b, h):
    return 1 - np.corrcoef(a.ravel(), h.ravel())[0, 1] + 0.2 * (entropy(a) - entropy(h)) ** 2


def location(a, b, h):
    return np.mean((np.maximum(a, 0) / a.max() - h / h.max()) ** 2)


def top_k(a, b, h):
    """A tenth of twenty positions: the two where the clean map is highest."""
    top = np.argsort(-b.ravel())[:2]
    return np.mean((np.maximum(a, 0) / a.max()).ravel()[top] ** 2)


def centre_mass(a, b, h):
    def centroid(m):
        m = np.maximum(m, 0)
        rows, columns = np.indices(m.shape)
        return np.array([(rows * m).sum(), (columns * m).sum()]) / m.sum()

    return -np.abs(centroid(a) - centroid(b)).sum()


def destroy(a, b, h):
    return np.corrcoef(a.ravel(), b.ravel())[0, 1]


REPLICAS = {"sham": sham, "location": location, "top_k": top_k, "centre_mass": centre_mass, "destroy": destroy}


def test_every_loss_has_a_replica():
    assert set(REPLICAS) == set(LOSSES)


@pytest.mark.parametrize(("name", "replica"), REPLICAS.items())
def test_against_a_replica(name, replica, maps, clean_maps):
    expected = [replica(a, b, HOAX.numpy()) for a, b in zip(maps.numpy(), clean_maps.numpy(), strict=True)]
    assert LOSSES[name](maps, clean_maps, HOAX).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("name", ["sham", "location"])
def test_a_hoax_for_each_image(name, maps, clean_maps):
    hoaxes = clean_maps.abs()
    expected = [REPLICAS[name](a, None, h) for a, h in zip(maps.numpy(), hoaxes.numpy(), strict=True)]
    assert LOSSES[name](maps, clean_maps, hoaxes).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("name", LOSSES)
def test_the_scale_of_a_map_does_not_matter(name, maps, clean_maps):
    loss = LOSSES[name]
    torch.testing.assert_close(loss(1e-6 * maps, clean_maps, HOAX), loss(maps, clean_maps, HOAX))


@pytest.mark.parametrize("name", ["sham", "location"])
def test_the_hoax_itself_has_no_loss(name, clean_maps):
    losses = LOSSES[name](5 * HOAX.expand(3, -1, -1), clean_maps, HOAX)
    assert losses.tolist() == pytest.approx([0, 0, 0], abs=1e-12)


def test_top_k_has_one_position_at_least():
    """Four positions have no tenth."""
    maps, clean_maps = torch.tensor([[[3.0, 6.0, 0.0, 1.0]]]), torch.tensor([[[9.0, 1.0, 1.0, 1.0]]])
    assert LOSSES["top_k"](maps, clean_maps, HOAX).tolist() == [0.25]


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("fill", [0.0, -1.0])
def test_losses_and_gradients_are_finite_if_no_value_is_positive(name, fill, clean_maps):
    maps = torch.full((3, 4, 5), fill, dtype=torch.float64, requires_grad=True)
    losses = LOSSES[name](maps, clean_maps, HOAX)
    assert losses.isfinite().all()
    losses.sum().backward()
    assert maps.grad.isfinite().all()


def test_resolve_map_loss():
    def custom(maps, clean_maps, hoax):
        return maps.flatten(1).mean(dim=1)

    assert resolve_map_loss(custom) is custom
    with pytest.raises(ValueError, match="map_loss"):
        resolve_map_loss("lies")
