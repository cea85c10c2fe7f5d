"""What was found so far is kept as a whole or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.common.distributed import Ranks
from benchmarks.common.progress import begin

ALONE = Ranks()


def test_progress_keeps_every_digit_and_nothing_unfinished(tmp_path):
    progress = begin(tmp_path, {"seed": 1}, False, ALONE)
    numbers = {"energy on A|x, y": np.random.default_rng(0).normal(size=5), "cluster": np.empty(0)}
    progress.write_numbers("some.npz", numbers)
    again = begin(tmp_path, {"seed": 1}, True, ALONE)
    assert again.has("some.npz")
    assert all((again.read_numbers("some.npz")[name] == values).all() for name, values in numbers.items())

    def fail(path: Path) -> None:
        path.write_text("half")
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        progress.write("other.npz", fail)
    assert not progress.has("other.npz")
    progress.finish()
    # There is nothing to resume, so a run begins.
    assert not begin(tmp_path, {"seed": 2}, True, ALONE).has("some.npz")
