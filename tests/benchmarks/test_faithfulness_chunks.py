"""Every image is in one chunk."""

from __future__ import annotations

from benchmarks.faithfulness.chunks import Subject, chunks


def test_chunks_cover_every_image_once():
    subject = Subject("prediction", "a, b", 3, 11, 4, lambda: None, lambda start, stop: list(range(start, stop)))
    found = list(chunks([subject]))
    assert [chunk.images for chunk in found] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]
    assert [chunk.key for chunk in found] == [f"prediction, a, b, 3, {start}" for start in (0, 4, 8)]
