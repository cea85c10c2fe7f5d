"""What was run once is not run again."""

from __future__ import annotations

import torch

from benchmarks.common.memoize import memoized


def test_a_score_that_remembers_is_the_same_score(x):
    calls = []

    def score(inputs):
        calls.append(len(inputs))
        return inputs.sum(dim=(1, 2, 3))

    remembered = memoized(score)
    for inputs in (x, x + 1, x.clone(), x[:1]):
        torch.testing.assert_close(remembered(inputs), inputs.sum(dim=(1, 2, 3)))
    assert calls == [3, 3, 1]
