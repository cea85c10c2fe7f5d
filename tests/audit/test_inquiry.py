"""How the audit asks: when it looks, and by how much it shifts."""

from __future__ import annotations

import pytest
import torch
from captum.attr import LayerGradCam
from nets import Spotter

from captum_diffcam import CamMethod
from captum_diffcam.audit.inquiry import AuditData, draw_shift, interim_sizes
from captum_diffcam.audit.portions import portions
from captum_diffcam.audit.tilings import FILLS


@pytest.mark.parametrize(
    ("count", "looks"),
    [(1, [1]), (8, [8]), (15, [15]), (16, [8, 16]), (31, [8, 31]), (32, [8, 16, 32]), (100, [8, 16, 32, 100])],
)
def test_looks(count, looks):
    assert interim_sizes(count) == looks


@pytest.mark.parametrize(("grid", "most"), [((7, 7), 2), ((4, 9), 2), ((3, 3), 1), ((2, 2), 0), ((2, 5), 2), ((9,), 2)])
def test_shifts(grid, most):
    generator = torch.Generator().manual_seed(0)
    drawn = {draw_shift(grid, generator) for _ in range(200)}
    assert all(max(map(abs, shift)) == most for shift in drawn)
    # More than half of the cells are seen before and after.
    assert all(2 * abs(by) < cells for shift in drawn for by, cells in zip(shift, grid, strict=True))
    assert (len(drawn) == 1) == (most == 0)


def test_doubled_windows_are_the_mean_of_old_and_new_ones(spots):
    model = Spotter().eval()
    with portions(model, None, None) as run:
        inquiry = AuditData(model, model.layer, spots, [CamMethod(LayerGradCam)], FILLS, 0, run)
        inquiry.decide(None)
        inquiry.add(8)
        inquiry.add(len(spots))
        before, forwards = torch.cat(inquiry.witnesses, dim=1), run.forwards
        drawn = inquiry.generator.get_state()
        inquiry.double_windows()
        assert run.forwards - forwards == 12 * len(spots)
        (after,) = inquiry.witnesses
        inquiry.generator.set_state(drawn)
        new = torch.stack([inquiry._witness(slice(0, len(spots)), (7, 7)) for _ in range(2)])
    torch.testing.assert_close(after, (before + new) / 2)
    reports = [inquiry.report(0.05, 3)]
    inquiry.witnesses = [before]
    reports.append(inquiry.report(0.05, 3))
    assert reports[0].reliability > reports[1].reliability
