"""One point: what is measured of it, against the long way."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_models import TINY, tiny_victim

from benchmarks.attacks import measures
from benchmarks.attacks.experiment import Laboratory
from benchmarks.attacks.methods import GRAD_CAM, OCCLUSION, measured_methods
from benchmarks.attacks.points import HONEST, Point, planned
from benchmarks.common.forging import SHAM, honest_hoax
from benchmarks.common.stored import Stored
from benchmarks.common.victims import SURE
from captum_diffcam import LayerDiffGradCam


@pytest.fixture(scope="module")
def laboratory():
    return Laboratory({"tiny": TINY}, Stored(None), True, torch.device("cpu"))


def test_an_honest_model(laboratory):
    found = laboratory.measure(Point("tiny", 0, "last", HONEST, 0.0))
    assert found["predictions"]["kept"] == 1
    assert found["predictions"]["kl"] == pytest.approx(0, abs=1e-12)
    for name, numbers in found["methods"].items():
        assert numbers["clean"] == pytest.approx(1, abs=1e-5), name
    assert found["methods"][OCCLUSION]["own_occlusion"] == pytest.approx(1, abs=1e-5)
    assert found["methods"][GRAD_CAM]["grad_cam"] == pytest.approx(1, abs=1e-5)


def test_correlations_the_long_way(laboratory):
    found = laboratory.measure(Point("tiny", 0, "last", SHAM, 5.0))
    victim = tiny_victim(0)
    target = victim.model(victim.images).argmax(dim=1)
    hoax = honest_hoax(victim).numpy().ravel()
    maps = LayerDiffGradCam(victim.model, victim.layer).attribute(victim.images, target)[:, 0].numpy()
    honest = laboratory.measure(Point("tiny", 0, "last", HONEST, 0.0))["methods"]["logsumexp"]
    assert honest["hoax"] == pytest.approx(np.mean([np.corrcoef(m.ravel(), hoax)[0, 1] for m in maps]), abs=1e-4)
    masks = victim.masks.numpy().reshape(4, 7, 8, 7, 8).mean(axis=(2, 4))
    expected = np.mean([np.corrcoef(m.ravel(), area.ravel())[0, 1] for m, area in zip(maps, masks, strict=True)])
    assert honest["mask"] == pytest.approx(expected, abs=1e-4)
    assert set(found["methods"]) == set(measured_methods(victim))
    assert found["methods"]["logsumexp"]["clean"] < 1


def test_decisions_count_where_the_model_was_sure(monkeypatch):
    victim, forged = tiny_victim(0), tiny_victim(1).model
    monkeypatch.setattr(measures, "SURE", 0.09)
    before, after = (torch.cat([m.tail(b) for b in victim.decided]).softmax(dim=1) for m in (victim.model, forged))
    sure = before.amax(dim=1) >= 0.09
    assert sure.sum() > 0
    found = measures.decisions(victim, forged)
    same = before.argmax(dim=1) == after.argmax(dim=1)
    assert found["confident"] == sure.sum()
    assert found["kept"] == pytest.approx(same[sure].double().mean().item())
    assert found["kept_of_all"] == pytest.approx(same.double().mean().item())
    assert found["kl"] == pytest.approx((before * (before / after).log()).sum(dim=1).mean().item(), rel=1e-3)
    assert SURE == 0.3


def test_the_plan_has_every_point_once_and_the_telling_ones_first():
    points = planned({"tiny": TINY}, [0, 1, 2], quick=False)
    keys = [point.key for point in points]
    assert len(set(keys)) == len(keys)
    assert points[0].attack == HONEST
    assert {point.attack for point in points[1:4]} == {SHAM}
    assert {point.seed for point in points} == {0, 1, 2}
    assert len({point.weight for point in points if point.attack == SHAM and point.seed == 2}) == 5
    # Before any attack on a model its honest maps are measured.
    for i, point in enumerate(points):
        if point.attack != HONEST:
            assert Point("tiny", point.seed, point.trained, HONEST, 0.0) in points[:i]


def test_two_classes_have_one_adaptive_attack():
    two = TINY.__class__("two", 2, tiny_victim)
    attacks = {point.attack for point in planned({"two": two}, [0], quick=False)}
    assert "adaptive, logsumexp" in attacks
    assert "adaptive, mean" not in attacks
