"""The attacker has other images than those that are reported."""

from __future__ import annotations

import torch
from PIL import Image
from torch import nn

from benchmarks.common.glyph_classifier import GlyphClassifier
from benchmarks.common.glyphs import draw_scenes
from benchmarks.sham import attacked_models


def test_the_attackers_images_are_not_the_reported_ones(monkeypatch):
    drawn = []

    def draw(classes, count, seed, objects=1):
        drawn.append(seed)
        return draw_scenes(classes, 4, seed)

    monkeypatch.setattr(attacked_models, "draw_scenes", draw)
    monkeypatch.setattr(
        attacked_models, "train_classifier", lambda classes, seed, images: GlyphClassifier(classes).eval()
    )
    one, other = (attacked_models.glyphs(12).make(seed, True) for seed in (0, 1))
    # Those that train have the seed of the model.
    assert len({0, 1, *drawn}) == 2 + 4
    assert not torch.equal(one.images, other.images)


def test_the_photographs_that_are_reported_are_not_those_of_the_attacker(monkeypatch):
    """Every photograph one grey of its own: which one a crop is from can be read off."""
    paths = attacked_models._all_photographs()
    grey = {path: Image.new("RGB", (300, 300), (5 * index,) * 3) for index, path in enumerate(paths)}
    monkeypatch.setattr(attacked_models, "load_image", grey.get)
    monkeypatch.setattr(attacked_models, "Remembering", lambda stem: nn.Identity())
    monkeypatch.setattr(attacked_models, "_varied", lambda features, seed: [features])
    monkeypatch.setattr(attacked_models.v2, "ColorJitter", lambda *strength: nn.Identity())
    victim = attacked_models.photographs().make(0, True)
    seen, reported = victim.attack_data[0], victim.images

    def shades(images):
        return {round(float(value) * 100) for value in images.flatten(1).unique()}

    assert len(shades(reported)) == 4
    assert not shades(reported) & shades(seen)
