"""Scenes of cut-outs over backgrounds."""

from __future__ import annotations

import pytest
import torch
from small_models import COLOURS

from benchmarks.common.cutouts import compose, find_material
from benchmarks.common.options import UsageError


def test_what_is_found(material):
    assert [file.stem for file in material.cutouts] == ["a", "b", "c", "d"]
    assert [file.stem for file in material.backgrounds] == ["large", "y"]


def test_the_attackers_half_shares_nothing_with_the_other(material):
    for seed in range(3):
        one, other = material.halves(seed)
        assert sorted(one.cutouts + other.cutouts) == sorted(material.cutouts)
        assert sorted(one.backgrounds + other.backgrounds) == sorted(material.backgrounds)
    assert len({material.halves(seed)[0] for seed in range(9)}) > 1


def test_masks_lie_where_the_objects_can_be_seen(material):
    scenes = compose(material, 30, 0, size=64, objects=(0, 3))
    assert scenes.images.shape == (30, 3, 64, 64)
    assert scenes.masks.sum(dim=1).max() == 1
    counts = (scenes.objects >= 0).sum(dim=1)
    assert set(counts.tolist()) == {0, 1, 2, 3}
    for image, masks, objects in zip(scenes.images, scenes.masks, scenes.objects.tolist(), strict=True):
        colourful = image.amax(dim=0) - image.amin(dim=0) > 0.5
        # Edges are half transparent.
        assert (colourful ^ masks.any(dim=0)).sum() < 0.1 * colourful.sum() + 1
        for mask, which in zip(masks, objects, strict=True):
            if which < 0:
                assert not mask.any()
            elif mask.sum() > 60:
                colour = torch.tensor(COLOURS[which]) / 255
                assert (image[:, mask].median(dim=1).values - colour).abs().max() < 0.05


def test_sizes(material):
    scenes = compose(material, 8, 1, size=64, objects=(1, 1), side=(0.5, 0.5))
    for mask in scenes.masks[:, 0]:
        assert abs(int(mask.any(dim=0).sum()) - 32) <= 2


def test_a_seed_gives_the_same_scenes(material):
    one, same, other = (compose(material, 3, seed, size=48).images for seed in (3, 3, 4))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_too_few(material, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UsageError, match=r"--cutouts.*got 0.*empty"):
        find_material(empty, tmp_path / "behind")
    with pytest.raises(UsageError, match=r"--backgrounds.*got 0.*empty"):
        find_material(tmp_path / "objects", empty)
