"""Which attacks there are, and what they train on."""

from __future__ import annotations

import math

import pytest
import torch
from small_models import tiny_victim

from benchmarks.sham import attacks
from benchmarks.sham.attacked_models import Setting
from benchmarks.sham.attacks import CONTROL, attacks_of, forge
from captum_diffcam.sham import hoax_map, inject_hoax


def test_where_time_is_short_fewer_attacks():
    short = attacks_of(Setting("short", 2, tiny_victim, injectable=False, thorough=False))
    assert short == [CONTROL, "SHAM, true class", "adaptive, logsumexp", "adaptive, all at once"]


def test_the_control_is_trained_on_decisions_alone():
    victim = tiny_victim(0, True)
    hoax = hoax_map((7, 7), entropy=3.3)
    control, _ = forge(victim, CONTROL, hoax, 0)
    attacked, _ = forge(victim, "SHAM, true class", hoax, 0)
    assert not torch.equal(control.tail.head.weight, attacked.tail.head.weight)
    other, _ = forge(victim, CONTROL, hoax_map((7, 7), entropy=math.log(9), shape="centre"), 0)
    assert torch.equal(control.tail.head.weight, other.tail.head.weight)


@pytest.mark.parametrize(("name", "steps"), [("SHAM, true class", 4), ("SHAM, all classes", 2)])
def test_how_long_an_attack_lasts(monkeypatch, name, steps):
    asked = {}
    monkeypatch.setattr(attacks, "fool", lambda *a, **k: asked.update(k) or inject_hoax(*a[:2], hoax_map((7, 7), 3.3)))
    forge(tiny_victim(0, True), name, hoax_map((7, 7), 3.3), 0)
    assert asked["steps"] == steps
    assert asked["weight"] == 1.0
