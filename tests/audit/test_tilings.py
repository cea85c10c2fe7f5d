"""The witness of random windows: what it covers, what it hides them behind, and whether it finds what matters."""

from __future__ import annotations

import pytest
import torch

from captum_diffcam.audit.tilings import tiled_witness


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def brightness(weights):
    """A score that is additive over pixels."""
    return lambda images, numbers: (images * weights).flatten(1).sum(dim=1)


def witness(images, grid, *, score, fills=("mean",), seed=0):
    whole = score(images, torch.arange(len(images)))
    return tiled_witness(score, images, grid, generator(seed), whole=whole, others=images, fills=fills)


@pytest.mark.parametrize(("size", "grid"), [((12,), (4,)), ((12, 18), (4, 6)), ((4, 6, 8), (2, 3, 4))])
def test_windows_cover_everything_once(size, grid):
    """The cells of an additive score add up to what is lost when all is hidden."""
    images = torch.rand(3, 2, *size)
    score = brightness(torch.rand(2, *size))
    found = witness(images, grid, score=score)
    mean = images.flatten(2).mean(dim=2).reshape(3, 2, *[1] * len(size)).expand_as(images)
    everything = score(images, None) - score(mean, None)
    assert found.shape == (3, *grid)
    torch.testing.assert_close(found.flatten(1).sum(dim=1), everything, atol=1e-4, rtol=1e-4)


def test_what_matters_is_found():
    images = torch.zeros(1, 3, 28, 28)
    images[0, 0, 4:12, 16:24] = 1.0
    score = brightness(torch.ones(3, 28, 28))
    found = sum(witness(images, (7, 7), score=score, seed=seed)[0] for seed in range(20))
    truth = torch.zeros(7, 7)
    truth[1:3, 4:6] = 1.0
    assert torch.corrcoef(torch.stack([found.flatten(), truth.flatten()]))[0, 1] > 0.45


def test_six_windows_of_every_image_none_the_same():
    asked = []

    def score(images, numbers):
        asked.append((images.clone(), numbers))
        return torch.zeros(len(images))

    images = torch.rand(10, 3, 20, 20)
    tiled_witness(score, images, (5, 5), generator(), whole=torch.zeros(10), others=images, fills=("other",))
    hidden, numbers = (torch.cat(parts) for parts in zip(*asked, strict=True))
    assert torch.bincount(numbers).tolist() == [6] * 10
    windows = (hidden != images[numbers]).any(dim=1)
    assert len({tuple(window.flatten().tolist()) for window in windows}) > 50
    assert torch.equal(windows.reshape(10, 6, 20, 20).sum(dim=1), torch.ones(10, 20, 20, dtype=torch.long))


@pytest.mark.parametrize("fill", ["mean", "blur", "other"])
def test_what_windows_are_hidden_behind(fill):
    seen = []

    def score(images, numbers):
        seen.append(images)
        return torch.zeros(len(images))

    images = torch.rand(1, 3, 16, 16)
    others = 5 + torch.arange(2 * 3 * 16 * 16.0).reshape(2, 3, 16, 16)
    tiled_witness(score, images, (4, 4), generator(), whole=torch.zeros(1), others=others, fills=(fill,))
    changed = seen[0] != images
    values = seen[0][changed]
    if fill == "mean":
        assert torch.allclose(values.sort().values.unique(), images.mean(dim=(0, 2, 3)).sort().values)
    elif fill == "blur":
        assert images.min() < values.min() < values.max() < images.max()
        assert values.std() < images.std() / 2
    else:
        assert set(values.tolist()) <= set(others.flatten().tolist())


def test_scores_that_are_no_numbers_tell_nothing():
    images = torch.rand(2, 3, 8, 8)
    found = tiled_witness(
        lambda x, n: torch.full((len(x),), torch.inf), images, (2, 2), generator(), whole=torch.zeros(2), others=images
    )
    assert not found.any()


def test_a_seed_gives_the_same_witness():
    images, score = torch.rand(2, 3, 12, 12), brightness(torch.rand(3, 12, 12))
    once, again, other = (witness(images, (4, 4), score=score, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
