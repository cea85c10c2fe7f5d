"""Recipes of attacks, and the victims that they are for."""

from __future__ import annotations

import pytest
import torch
from small_models import TINY, tiny_victim

from benchmarks.common.cutouts import Material
from benchmarks.common.forging import AGAINST_MOVING, ATTACKS, INJECTION, SHAM, attacked_methods, forge, honest_hoax
from benchmarks.common.names import CLOTHES, CUTOUTS, GLYPHS, GLYPHS_2, GLYPHS_100, ONE_LOGIT, SETTINGS, SHOES
from benchmarks.common.options import UsageError
from benchmarks.common.stored import Stored
from benchmarks.common.victims import clothes, image_folder, scenes_of_cutouts, settings
from captum_diffcam.metrics import cam_entropy


@pytest.mark.parametrize("attack", ATTACKS)
def test_every_attack_changes_the_tail_and_nothing_else(attack):
    reach = "all" if attack == AGAINST_MOVING else "last"
    victim = tiny_victim(0, reach)
    before = {key: value.clone() for key, value in victim.model.state_dict().items()}
    model, layer = forge(TINY, 0, reach, attack, 1.0, victim, honest_hoax(victim), Stored(None), quick=True)
    assert layer is model.tail.features
    assert model.stem is victim.model.stem
    assert all(torch.equal(value, before[key]) for key, value in victim.model.state_dict().items())
    changed = [not torch.equal(value, before[key]) for key, value in model.state_dict().items()]
    # In a dozen steps the one against the moving part gets no further than where it began.
    assert sum(changed) >= 2 or attack == AGAINST_MOVING


def test_an_injection_keeps_decisions():
    victim = tiny_victim(0)
    model, _ = forge(TINY, 0, "last", INJECTION, 0.0, victim, honest_hoax(victim), Stored(None))
    before, after = (each(victim.images).softmax(dim=1) for each in (victim.model, model))
    torch.testing.assert_close(before, after)


def test_a_forgery_is_made_once(tmp_path):
    victim, kept = tiny_victim(0), Stored(tmp_path)
    hoax = honest_hoax(victim)
    one, again, other = (forge(TINY, 0, "last", SHAM, w, victim, hoax, kept, quick=True)[0] for w in (1.0, 1.0, 2.0))
    weights = [each.tail.head.weight for each in (one, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert len(list(tmp_path.iterdir())) == 2


def test_the_hoax_is_as_spread_out_as_honest_maps():
    victim = tiny_victim(0)
    maps = attacked_methods(victim)["LayerGradCam"]
    seen = torch.cat(list(victim.seen))
    honest = maps.maps(victim.model.tail, victim.layer, seen, victim.model.tail(seen).argmax(dim=1))
    honest = honest[honest.flatten(1).amax(dim=1) > 0]
    assert cam_entropy(honest_hoax(victim)[None]).item() == pytest.approx(cam_entropy(honest).mean().item(), abs=0.05)


def test_settings_are_called_what_the_studies_call_them(tmp_path):
    kinds = ({}, {"two": True}, {"two": True, "one_logit": True})
    assert [clothes(tmp_path, Stored(None), **kind).name for kind in kinds] == [CLOTHES, SHOES, ONE_LOGIT]
    nothing = Material((), ())
    assert scenes_of_cutouts(nothing, Stored(None)).name == CUTOUTS
    assert set(SETTINGS) == {CLOTHES, SHOES, ONE_LOGIT, CUTOUTS, GLYPHS, GLYPHS_2, GLYPHS_100}


def test_settings_without_data_are_left_out_with_a_line(monkeypatch, capsys):
    monkeypatch.setattr("benchmarks.common.victims.find_material", lambda *given: None)
    monkeypatch.setattr("benchmarks.common.victims.find_fashion", lambda *given: None)
    assert list(settings(Stored(None))) == [GLYPHS, GLYPHS_2, GLYPHS_100]
    said = capsys.readouterr().err
    assert said.count("apt install") == 2
    assert said.count("\n") == 2


def test_a_folder_that_is_none(tmp_path):
    with pytest.raises(UsageError, match=r"--data: .* is no folder with a folder of images for each class"):
        image_folder(tmp_path / "nowhere")
