"""Images of one kind, from their chunks."""

from __future__ import annotations

import itertools

import numpy as np

from benchmarks.faithfulness.sample import Sample


def test_chunks_are_joined_in_their_order():
    parts = [
        (stratum, {"cluster": np.array([i, i + 1.0]), "m|a": np.array([stratum, i])})
        for stratum, i in itertools.product((0, 1), (0.0, 2.0))
    ]
    joined = Sample.of("prediction", "x", [(int(s), n) for s, n in parts], 0)
    assert joined.numbers["m|a"].tolist() == [0, 0, 0, 2, 1, 0, 1, 2]
    assert joined.count == 8
    assert joined.methods("m") == ["a"]
