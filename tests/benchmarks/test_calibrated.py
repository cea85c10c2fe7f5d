"""The benchmark of calibrated maps: what is held out, and what is counted."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from benchmarks.calibrated import attacked, choices, tests
from benchmarks.calibrated.measures import (
    ALONE,
    CALIBRATED,
    DEFAULT,
    OCCLUSION,
    PLANS,
    RISE,
    SHIFT,
    SIDES,
    held_out_windows,
    kept,
    with_and_without_map,
)
from benchmarks.calibrated.run import CUTOUTS, SET, rows_of, verdict
from benchmarks.common.manipulated_models import AGAINST_EQUIVARIANT
from benchmarks.common.names import CLOTHES, GLYPHS, LITE0, LITE1, MOBILENET
from captum_diffcam import CalibratedMap, LayerDiffGradCam
from captum_diffcam.attacks import shift_features
from captum_diffcam.metrics import pearson
from captum_diffcam.occlusion import cover, grid_windows, in_pixels


@pytest.mark.parametrize("side", SIDES)
def test_no_window_of_a_plan_is_held_out(side):
    held_out = in_pixels(held_out_windows(side), (224, 224)).flatten(1).tolist()
    covers = cover(in_pixels(held_out_windows(side), (224, 224)), (224, 224), (7, 7))
    assert covers.sum(dim=1).tolist() == [side**2] * len(covers)
    for windows in [*PLANS.values(), *map(choices.windows_of, choices.LAYOUTS)]:
        used = in_pixels(windows, (224, 224)).flatten(1).tolist()
        assert not [window for window in held_out if window in used]


@pytest.mark.parametrize("count", PLANS)
def test_plans_have_as_many_windows_as_they_say(count):
    assert len(PLANS[count]) == count


def test_nine_windows_are_the_default_ones():
    layer = torch.nn.Conv2d(3, 4, 4)
    default = CalibratedMap(LayerDiffGradCam(torch.nn.Sequential(layer), layer))
    torch.testing.assert_close(grid_windows(2, default.windows, default.sizes), PLANS[9])


def test_eighteen_windows_are_small_ones_and_two_opposite_quarters():
    starts, ends = in_pixels(PLANS[18], (28, 28)).unbind(dim=2)
    assert (ends - starts).tolist() == [[10, 10]] * 16 + [[14, 14]] * 2
    assert starts[:16].tolist() == [[a, b] for a in (0, 6, 12, 18) for b in (0, 6, 12, 18)]
    assert starts[16:].tolist() == [[0, 0], [14, 14]]


@pytest.mark.parametrize("layout", choices.LAYOUTS)
def test_layouts_have_as_many_windows_as_they_say(layout):
    assert len(choices.windows_of(layout)) == sum(int(number) for number in re.findall("([0-9]+) of", layout))


def _piece(where, factor):
    falls = {side: torch.tensor([[1.0, 2.0, 4.0]]) for side in SIDES}
    methods = {f"{name}, {count}": factor for name in (CALIBRATED, RISE) for count in PLANS}
    methods |= {f"{ALONE}, {count}": -factor for count in PLANS}
    predicted = {name: {side: by * falls[side] for side in SIDES} for name, by in methods.items()}
    shifted = {f"{CALIBRATED}, 9": torch.tensor([factor])}
    return {"classifier": where[0], "images": where[1], "falls": falls, **predicted, "kept": shifted}


def test_rows_pool_all_windows_of_all_images():
    reported = (MOBILENET, CUTOUTS)
    rows = rows_of([_piece(SET, 1.0), _piece(reported, 0.5), _piece(reported, 0.5)])
    by_key = {(row["classifier"], row["method"]): row for row in rows}
    row = by_key[MOBILENET, f"{CALIBRATED}, 9"]
    assert (row["r, 2 x 2"], row["slope, 2 x 2"], row["kept"]) == pytest.approx((1, 2, 0.5))
    assert not row["set"]
    assert by_key[LITE0, f"{CALIBRATED}, 9"]["set"]
    assert not any(row["set"] for row in rows_of([_piece((LITE0, CUTOUTS), 1.0)]))
    assert by_key[MOBILENET, f"{ALONE}, 18"]["r, 3 x 3"] == pytest.approx(-1)
    assert by_key[MOBILENET, f"{RISE}, 18"]["slope, 3 x 3"] is None
    assert "kept" not in by_key[MOBILENET, f"{RISE}, 9"]


def test_the_verdict_leaves_out_what_set_the_windows():
    rows = rows_of([_piece(SET, -1.0), _piece((LITE1, CUTOUTS), 0.5)])
    sentences = verdict(rows)
    assert len(sentences) == len(PLANS)
    for sentence in sentences:
        assert "r 1.00 to 1.00" in sentence
        assert "2.00 to 2.00" in sentence
        assert "+2.00" in sentence


def test_both_maps_come_from_the_same_falls():
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(3, 4, 4, stride=4)
    model = torch.nn.Sequential(layer, torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    cam, images, target = LayerDiffGradCam(model, layer), torch.rand(2, 3, 28, 28), torch.tensor([0, 3])
    windows = PLANS[9]
    calibrated, alone, falls = with_and_without_map(cam, windows, images, target)
    torch.testing.assert_close(calibrated, CalibratedMap(cam, windows).attribute(images, target))
    expected = CalibratedMap(cam, windows, use_map=False).calibrate(images, target)
    torch.testing.assert_close(alone, expected.maps)
    torch.testing.assert_close(falls, expected.falls)


def test_every_attack_is_planned_for_each_seed():
    cases = attacked.planned(dict.fromkeys((CLOTHES, GLYPHS)), [0, 1], quick=False)
    assert len({case.key for case in cases}) == len(cases)
    for seed in (0, 1):
        for setting, own in ((CLOTHES, attacked.OWN_ATTACKS), (GLYPHS, ())):
            attacks = {case.attack for case in cases if (case.setting, case.seed) == (setting, seed)}
            slow = {AGAINST_EQUIVARIANT, *own} if seed else set()
            assert attacks == {*attacked.LAYER_ATTACKS[setting], *own} - slow
    budgets = [case.within_budget for case in cases if case.attack in attacked.OWN_ATTACKS]
    assert sorted(budgets) == [False] * 3 + [True] * 3


def test_the_attacker_who_knows_the_method_guesses_other_windows():
    layer = torch.nn.Conv2d(3, 4, 4)
    cam = LayerDiffGradCam(torch.nn.Sequential(layer), layer)
    known, guessed = CalibratedMap(cam), attacked.OWN_ATTACKS[attacked.KNOWS_METHOD](cam)
    assert (known.sizes, known.fills) != (guessed.sizes, guessed.fills)
    assert known.sizes != guessed.sizes
    assert known.fills != guessed.fills


def _attacked(attack, seed, clean, ceiling):
    names = (DEFAULT, f"{CALIBRATED}, 9", f"{ALONE}, 9", attacked.HIDDEN_WINDOWS)
    methods = {name: {"clean": clean, "hoax": -clean} for name in names} | {OCCLUSION: {"clean": ceiling, "hoax": 0.0}}
    what = {"setting": CLOTHES, "attack": attack, "seed": seed, "own": attack in attacked.OWN_ATTACKS}
    return {**what, "within_budget": False, "weight": 3.0, "predictions": 0.9, "methods": methods}


def test_only_attacks_that_leave_occlusion_count():
    first, second, third = attacked.LAYER_ATTACKS[CLOTHES][:3]
    rows = attacked.rows_of(
        [
            _attacked(first, 0, 0.7, 0.9),
            _attacked(first, 1, 0.95, 0.9),
            _attacked(second, 0, 0.5, 0.85),
            _attacked(third, 0, 0.9, 0.5),
            _attacked(attacked.KNOWS_WINDOWS, 0, 0.99, 0.99),
        ]
    )
    assert rows[0]["methods"][DEFAULT] == pytest.approx({"mean": 0.825, "low": 0.7, "high": 0.95})
    for found in attacked.reached(rows):
        assert (found["reached"], found["rows"], found["lowest"]) == (1, 2, 0.5)
    assert OCCLUSION not in {found["method"] for found in attacked.reached(rows)}


def _of_a_test(study, measure, differences):
    generator = torch.Generator().manual_seed(0)
    default = torch.rand(12, generator=generator, dtype=torch.float64)
    numbers = {"cluster": torch.arange(12), f"{measure}|{tests.DEFAULT}": default}
    noise = 0.01 * torch.rand(12, generator=generator, dtype=torch.float64)
    for name, difference in zip(tests.SLOW, differences, strict=True):
        numbers[f"{measure}|{name}"] = default + difference + noise
    return {"subject": "net, photographs", "study": study, "numbers": numbers}


def test_higher_is_better_or_worse():
    results = [
        _of_a_test(tests.GRIDPG, "GridPG", (0.1, -0.2, 0.0, 0.0)),
        _of_a_test(tests.CLASSES, "second class", (0.1, -0.2, 0.0, 0.0)),
    ]
    rows = tests.rows_of(results, seed=0)
    assert [row["images"] for row in rows] == [12] * 10
    calibrated, alone = (tests.better_and_worse(rows, name) for name in tests.SLOW[:2])
    assert calibrated == (1, 1, 2)
    assert alone == (1, 1, 2)
    mosaics = [row for row in rows if row["measure"] == "GridPG"]
    assert tests.better_and_worse(mosaics, f"{CALIBRATED}, 9") == (1, 0, 1)
    assert tests.better_and_worse(mosaics, f"{ALONE}, 9") == (0, 1, 1)


def _measured(seed, count=6, positions=49):
    generator = torch.Generator().manual_seed(seed)
    covers = cover(in_pixels(PLANS[9], (224, 224)), (224, 224), (7, 7))
    maps = torch.randn(count, positions, generator=generator, dtype=torch.float64)
    return maps, covers


def test_the_scale_of_a_map_is_fitted_between_0_and_1():
    maps, covers = _measured(0)
    for factor, scale in ((1, 1), (0.3, 0.3), (3, 1), (-1, 0)):
        falls = factor * maps @ covers.T
        expected = scale * maps if factor == scale else choices.calibrated(scale * maps, covers, falls)
        torch.testing.assert_close(choices.scaled(maps, covers, falls), expected, atol=1e-6, rtol=1e-6)


def test_a_smooth_correction_is_the_formula_with_a_covariance():
    maps, covers = _measured(0)
    falls = _measured(1)[0] @ covers.T
    corrected = choices.smooth(maps, covers, falls)
    places = torch.tensor([[i, j] for i in range(7) for j in range(7)], dtype=torch.float64)
    distances = (places[:, None] - places).square().sum(dim=2)
    covariance = torch.exp(-distances / (2 * choices._LENGTH**2))
    gram = covers @ covariance @ covers.T
    residual = falls - maps @ covers.T
    # The ridge is the only free number: it follows from one image, and all others agree.
    for image in range(len(maps)):
        errors = [
            (
                maps[image]
                + covariance @ covers.T @ torch.linalg.solve(gram + ridge * torch.eye(9), residual[image])
                - corrected[image]
            )
            .abs()
            .max()
            for ridge in torch.tensor(choices._RIDGES) * torch.linalg.eigvalsh(gram).mean()
        ]
        assert min(errors) < 1e-6


def test_an_attacker_within_the_budget_chooses_a_weight_for_each_seed():
    results = [
        {**_attacked(attacked.KNOWS_WINDOWS, seed, 0.5, 0.9), "within_budget": budget, "weight": weight}
        for budget in (False, True)
        for seed, weight in enumerate((1.0, 0.3))
    ]
    assert [row["weights"] for row in attacked.rows_of(results)] == [[1.0], [0.3], [1.0, 0.3]]


def test_shifted_features_are_compared_with_the_calibrated_map_of_the_clean_model():
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(3, 4, 8, stride=8)
    model = torch.nn.Sequential(layer, torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()).eval()
    images = torch.rand(3, 3, 56, 56)
    target = model(images).argmax(dim=1)
    result = kept(model, "0", images)
    manipulated = shift_features(model, "0", images, SHIFT)
    for name, wrap in ((DEFAULT, lambda cam: cam), (f"{CALIBRATED}, 9", lambda cam: CalibratedMap(cam, PLANS[9]))):
        clean, after = (
            wrap(LayerDiffGradCam(*each)).attribute(images, target) for each in ((model, layer), manipulated[:2])
        )
        torch.testing.assert_close(result[name], pearson(clean, after))


def test_choices_are_compared_by_pooled_slopes_with_an_interval():
    generator = torch.Generator().manual_seed(0)
    size = (56, 56)
    parts = {**choices._PARTS, **{str(side): held_out_windows(side) for side in SIDES}}
    covers = {name: cover(in_pixels(windows, size), size, (7, 7)) for name, windows in parts.items()}
    maps = torch.randn(30, 49, generator=generator, dtype=torch.float64)
    # The measured falls are twice those of the map, plus noise.
    clean = {"maps": maps}
    for name, covered in covers.items():
        noise = torch.randn(30, len(covered), generator=generator, dtype=torch.float64)
        clean[name] = {"covers": covered, "falls": 2 * maps @ covered.T + 0.5 * noise}
    rows = choices.rows_of([{"subject": "net", choices.CLEAN: clean}])
    assert {(row["windows"], row["form"]) for row in rows} == {(w, f) for w in choices.LAYOUTS for f in choices.FORMS}
    for row in rows:
        x = choices.FORMS[row["form"]](maps, *_joined(clean, row["windows"])) @ covers["2"].T
        y = clean["2"]["falls"]
        assert row["r, 2 x 2"] == pytest.approx(np.corrcoef(x.flatten(), y.flatten())[0, 1])
        assert row["slope, 2 x 2"] == pytest.approx(np.polyfit(x.flatten(), y.flatten(), 1)[0])
    # The interval is that of images drawn again, of the last row.
    random = np.random.default_rng(1)
    drawn = [random.integers(0, 30, 30) for _ in range(1000)]
    slopes = [np.polyfit(x[i].flatten(), y[i].flatten(), 1)[0] for i in drawn]
    interval = [row["slope, 2 x 2, low"], row["slope, 2 x 2, high"]]
    np.testing.assert_allclose(interval, np.quantile(slopes, [0.025, 0.975]), atol=0.1 * np.ptp(interval))


def _joined(measured, layout):
    parts = [measured[part] for part in choices.LAYOUTS[layout]]
    return torch.cat([part["covers"] for part in parts]), torch.cat([part["falls"] for part in parts], dim=1)
