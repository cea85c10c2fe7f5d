"""A classifier learns from the drawn images."""

from __future__ import annotations

from benchmarks.common import glyph_classifier
from benchmarks.common.glyph_classifier import GlyphClassifier, accuracy, train_classifier
from benchmarks.common.glyphs import draw_scenes


def test_a_classifier_learns(monkeypatch):
    # More steps of fewer images each.
    monkeypatch.setattr(glyph_classifier, "_BATCH", 8)
    held_out = draw_scenes(classes=3, count=100, seed=100)
    assert accuracy(train_classifier(classes=3, seed=0, images=192), held_out) > 0.6
    assert accuracy(GlyphClassifier(3).eval(), held_out) < 0.5
