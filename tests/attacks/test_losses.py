"""The attackers' losses against literal re-derivations in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from captum_diffcam.attacks import hoax_map
from captum_diffcam.attacks.losses import LOSSES, find_loss

HOAX = hoax_map((4, 5), entropy=math.log(6)).double()


@pytest.fixture
def maps():
    return torch.randn(3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def honest():
    return torch.randn(3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def entropy(a):
    p = np.maximum(a, 0) / np.maximum(a, 0).sum()
    return -sum(q * math.log(q) for q in p.ravel() if q > 0)


def sham(a, b, h):
    return 1 - np.corrcoef(a.ravel(), h.ravel())[0, 1] + 0.2 * (entropy(a) - entropy(h)) ** 2


def location(a, b, h):
    return np.mean((np.maximum(a, 0) / a.max() - h / h.max()) ** 2)


def top_k(a, b, h):
    """A tenth of twenty positions: the two where the honest map is highest."""
    places = np.argsort(-b.ravel())[:2]
    return np.mean((np.maximum(a, 0) / a.max()).ravel()[places] ** 2)


def centre_mass(a, b, h):
    def centroid(m):
        m = np.maximum(m, 0)
        rows, columns = np.indices(m.shape)
        return np.array([(rows * m).sum(), (columns * m).sum()]) / m.sum()

    return -np.abs(centroid(a) - centroid(b)).sum()


@pytest.mark.parametrize(
    ("name", "replica"), [("sham", sham), ("location", location), ("top_k", top_k), ("centre_mass", centre_mass)]
)
def test_against_a_replica(name, replica, maps, honest):
    expected = [replica(a, b, HOAX.numpy()) for a, b in zip(maps.numpy(), honest.numpy(), strict=True)]
    assert LOSSES[name](maps, honest, HOAX).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("name", LOSSES)
def test_the_scale_of_a_map_does_not_matter(name, maps, honest):
    loss = LOSSES[name]
    torch.testing.assert_close(loss(1e-6 * maps, honest, HOAX), loss(maps, honest, HOAX))


@pytest.mark.parametrize("name", ["sham", "location"])
def test_the_hoax_itself_has_no_loss(name, honest):
    assert LOSSES[name](5 * HOAX.expand(3, -1, -1), honest, HOAX).tolist() == pytest.approx([0, 0, 0], abs=1e-12)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("fill", [0.0, -1.0])
def test_gradients_are_finite_where_nothing_is_lit(name, fill, honest):
    maps = torch.full((3, 4, 5), fill, dtype=torch.float64, requires_grad=True)
    LOSSES[name](maps, honest, HOAX).sum().backward()
    assert maps.grad.isfinite().all()


def test_find_loss():
    def own(maps, honest, hoax):
        return maps.flatten(1).mean(dim=1)

    assert find_loss(own) is own
    with pytest.raises(
        ValueError, match="map_loss: got 'lies'; allowed are 'sham', 'location', 'top_k', 'centre_mass' and a"
    ):
        find_loss("lies")
