"""How the audit asks: when it looks, and by how much it shifts."""

from __future__ import annotations

import pytest
import torch

from captum_diffcam.sham.inquiry import draw_shift, looks_at


@pytest.mark.parametrize(
    ("count", "looks"),
    [(1, [1]), (8, [8]), (15, [15]), (16, [8, 16]), (31, [8, 31]), (32, [8, 16, 32]), (100, [8, 16, 32, 100])],
)
def test_looks(count, looks):
    assert looks_at(count) == looks


@pytest.mark.parametrize(("grid", "most"), [((7, 7), 2), ((4, 9), 2), ((3, 3), 1), ((2, 2), 0), ((2, 5), 2), ((9,), 2)])
def test_shifts(grid, most):
    generator = torch.Generator().manual_seed(0)
    drawn = {draw_shift(grid, generator) for _ in range(200)}
    assert all(max(map(abs, shift)) == most for shift in drawn)
    # More than half of the cells are seen before and after.
    assert all(2 * abs(by) < cells for shift in drawn for by, cells in zip(shift, grid, strict=True))
    assert (len(drawn) == 1) == (most == 0)
