"""The benchmark of calibrated maps: what is held out, and what is counted."""

from __future__ import annotations

import pytest
import torch

from benchmarks.calibrated.measures import ALONE, CALIBRATED, PLANS, RISE, SIDES, held_out_windows
from benchmarks.calibrated.run import CUTOUTS, SET, rows_of, verdict
from benchmarks.common.names import LITE0, MOBILENET
from captum_diffcam.occlusion import cover, grid_windows, in_pixels


@pytest.mark.parametrize("side", SIDES)
def test_no_window_of_a_plan_is_held_out(side):
    held_out = in_pixels(held_out_windows(side), (224, 224)).flatten(1).tolist()
    covers = cover(in_pixels(held_out_windows(side), (224, 224)), (224, 224), (7, 7))
    assert covers.sum(dim=1).tolist() == [side**2] * len(covers)
    for per_side, sizes in PLANS.values():
        used = in_pixels(grid_windows(2, per_side, sizes), (224, 224)).flatten(1).tolist()
        assert not [window for window in held_out if window in used]


@pytest.mark.parametrize("count", PLANS)
def test_plans_have_as_many_windows_as_they_say(count):
    assert len(grid_windows(2, *PLANS[count])) == count


def _piece(where, factor):
    falls = {side: torch.tensor([[1.0, 2.0, 4.0]]) for side in SIDES}
    methods = {f"{name}, {count}": factor for name in (CALIBRATED, RISE) for count in PLANS}
    methods |= {f"{ALONE}, {count}": -factor for count in PLANS}
    predicted = {name: {side: by * falls[side] for side in SIDES} for name, by in methods.items()}
    kept = {f"{CALIBRATED}, 9": torch.tensor([factor])}
    return {"classifier": where[0], "images": where[1], "falls": falls, **predicted, "kept": kept}


def test_rows_pool_all_windows_of_all_images():
    reported = (MOBILENET, CUTOUTS)
    rows = rows_of([_piece((LITE0, SET), 1.0), _piece(reported, 0.5), _piece(reported, 0.5)])
    by_key = {(row["classifier"], row["method"]): row for row in rows}
    row = by_key[MOBILENET, f"{CALIBRATED}, 9"]
    assert (row["r, 2 x 2"], row["slope, 2 x 2"], row["kept"]) == pytest.approx((1, 2, 0.5))
    assert not row["set"]
    assert by_key[LITE0, f"{CALIBRATED}, 9"]["set"]
    assert by_key[MOBILENET, f"{ALONE}, 18"]["r, 3 x 3"] == pytest.approx(-1)
    assert by_key[MOBILENET, f"{RISE}, 18"]["slope, 3 x 3"] is None
    assert "kept" not in by_key[MOBILENET, f"{RISE}, 9"]


def test_the_verdict_leaves_out_what_set_the_windows():
    rows = rows_of([_piece((MOBILENET, SET), -1.0), _piece((LITE0, CUTOUTS), 1.0)])
    assert all("r 1.00 to 1.00" in sentence and "+2.00" in sentence for sentence in verdict(rows))
