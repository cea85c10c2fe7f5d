"""One point: what is measured of it, compared with slow computations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_models import TINY, tiny_model

from benchmarks.attacks import measures
from benchmarks.attacks.measures import Laboratory
from benchmarks.attacks.methods import OCCLUSION, measured_methods
from benchmarks.attacks.plan import NO_ATTACK, Point, planned
from benchmarks.common.manipulated_models import LOGSUMEXP, PLAIN, SHAM, hoax_for
from benchmarks.common.stored import Stored
from captum_diffcam import LayerDiffGradCam


@pytest.fixture(scope="module")
def laboratory():
    return Laboratory({"tiny": TINY}, Stored(None), True, torch.device("cpu"))


def test_a_clean_model(laboratory):
    point = laboratory.measure(Point("tiny", 0, "last", NO_ATTACK, 0.0))
    assert point["predictions"]["kept"] == 1
    assert point["predictions"]["kl"] == pytest.approx(0, abs=1e-12)
    for name, numbers in point["methods"].items():
        assert numbers["clean"] == pytest.approx(1, abs=1e-5), name
    assert point["methods"][OCCLUSION]["own_occlusion"] == pytest.approx(1, abs=1e-5)
    assert point["methods"][PLAIN]["grad_cam"] == pytest.approx(1, abs=1e-5)


def test_correlations(laboratory):
    manipulated = laboratory.measure(Point("tiny", 0, "last", SHAM, 5.0))["methods"]
    model = tiny_model(0)
    assert set(manipulated) == set(measured_methods(model))
    assert manipulated[LOGSUMEXP]["clean"] < 1
    clean = laboratory.measure(Point("tiny", 0, "last", NO_ATTACK, 0.0))["methods"][LOGSUMEXP]
    target = model.model(model.images).argmax(dim=1)
    maps = LayerDiffGradCam(model.model, model.layer).attribute(model.images, target)[:, 0].numpy()
    hoax = hoax_for(model).numpy().ravel()
    assert clean["hoax"] == pytest.approx(np.mean([np.corrcoef(m.ravel(), hoax)[0, 1] for m in maps]), abs=1e-4)
    masks = model.masks.numpy().reshape(4, 7, 8, 7, 8).mean(axis=(2, 4))
    expected = np.mean([np.corrcoef(m.ravel(), area.ravel())[0, 1] for m, area in zip(maps, masks, strict=True)])
    assert clean["mask"] == pytest.approx(expected, abs=1e-4)


def test_confident_predictions_are_counted(monkeypatch):
    clean, manipulated = tiny_model(0), tiny_model(1).model
    monkeypatch.setattr(measures, "CONFIDENT", 0.09)
    before, after = (
        torch.cat([model.tail(batch) for batch in clean.held_out_batches]).softmax(dim=1)
        for model in (clean.model, manipulated)
    )
    confident = before.amax(dim=1) >= 0.09
    assert confident.sum() > 0
    numbers = measures.compare_predictions(clean, manipulated)
    same = before.argmax(dim=1) == after.argmax(dim=1)
    assert numbers["confident"] == confident.sum()
    assert numbers["kept"] == pytest.approx(same[confident].double().mean().item())
    assert numbers["kept_of_all"] == pytest.approx(same.double().mean().item())
    assert numbers["kl"] == pytest.approx((before * (before / after).log()).sum(dim=1).mean().item(), rel=1e-3)


def test_the_plan_has_every_point_once_and_the_main_attack_first():
    points = planned({"tiny": TINY}, [0, 1, 2], quick=False)
    keys = [point.key for point in points]
    assert len(set(keys)) == len(keys)
    assert points[0].attack == NO_ATTACK
    assert {point.attack for point in points[1:4]} == {SHAM}
    assert {point.seed for point in points} == {0, 1, 2}
    assert len({point.weight for point in points if point.attack == SHAM and point.seed == 2}) == 5
    # The clean model comes before every attack on it.
    for i, point in enumerate(points):
        if point.attack != NO_ATTACK:
            assert Point("tiny", point.seed, point.trained, NO_ATTACK, 0.0) in points[:i]


def test_two_classes_have_one_adaptive_attack():
    two = TINY.__class__("two", 2, tiny_model)
    attacks = {point.attack for point in planned({"two": two}, [0], quick=False)}
    assert "adaptive, logsumexp" in attacks
    assert "adaptive, mean" not in attacks
