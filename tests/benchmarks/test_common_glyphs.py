"""Drawn images of glyphs."""

from __future__ import annotations

import pytest
import torch

from benchmarks.common.glyphs import SIZE, alphabet, draw_scenes


def test_shapes_and_ranges():
    scenes = draw_scenes(classes=12, count=5, seed=0, objects=2)
    assert scenes.images.shape == (5, 3, SIZE, SIZE)
    assert scenes.labels.shape == (5, 2)
    assert scenes.masks.shape == (5, 2, SIZE, SIZE)
    assert scenes.images.min() >= 0
    assert scenes.images.max() <= 1


def test_objects_of_an_image_differ_and_do_not_overlap():
    scenes = draw_scenes(classes=3, count=40, seed=1, objects=2)
    assert (scenes.labels[:, 0] != scenes.labels[:, 1]).all()
    assert scenes.masks.sum(dim=1).max() == 1
    assert (scenes.masks.sum(dim=(2, 3)) > 20).all()


def test_masks_lie_where_the_object_does():
    """Within its mask an object has one colour, up to the noise; its surroundings have many."""
    scenes = draw_scenes(classes=10, count=30, seed=2)
    for image, mask in zip(scenes.images, scenes.masks[:, 0], strict=True):
        assert image[:, mask].std(dim=1).max() < 0.04
        assert image[:, ~mask].std(dim=1).min() > 0.04


def test_a_seed_gives_the_same_images():
    one, same, other = (draw_scenes(classes=10, count=4, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(one.images, same.images)
    assert not torch.equal(one.images, other.images)


@pytest.mark.parametrize("classes", [10, 100, 200])
def test_classes_are_distinct(classes):
    assert len(set(alphabet(classes))) == classes


def test_more_classes_than_there_are_shapes():
    with pytest.raises(ValueError, match=r"`classes`.*5000"):
        alphabet(5000)
