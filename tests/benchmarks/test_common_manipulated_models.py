"""Recipes of attacks, and the clean models that they are for."""

from __future__ import annotations

import pytest
import torch
from small_models import TINY, tiny_model

from benchmarks.common.clean_models import image_folder, settings
from benchmarks.common.manipulated_models import (
    AGAINST_EQUIVARIANT,
    ATTACKS,
    INJECTION,
    PLAIN,
    SHAM,
    attacked_methods,
    hoax_for,
    manipulate,
)
from benchmarks.common.names import GLYPHS, GLYPHS_2, GLYPHS_100
from benchmarks.common.options import UsageError
from benchmarks.common.stored import Stored
from captum_diffcam.metrics import cam_entropy


@pytest.mark.parametrize("attack", ATTACKS)
def test_every_attack_changes_the_tail_and_nothing_else(attack):
    part = "all" if attack == AGAINST_EQUIVARIANT else "last"
    clean = tiny_model(0, part)
    before = {key: value.clone() for key, value in clean.model.state_dict().items()}
    model, layer = manipulate(TINY, 0, part, attack, 1.0, clean, hoax_for(clean), Stored(None), quick=True)
    assert layer is model.tail.features
    assert model.stem is clean.model.stem
    assert all(torch.equal(value, before[key]) for key, value in clean.model.state_dict().items())
    changed = [not torch.equal(value, before[key]) for key, value in model.state_dict().items()]
    # In a dozen steps the attack on the equivariant part gets no further than where it began.
    assert sum(changed) >= 2 or attack == AGAINST_EQUIVARIANT


def test_an_injection_keeps_predictions():
    clean = tiny_model(0)
    model, _ = manipulate(TINY, 0, "last", INJECTION, 0.0, clean, hoax_for(clean), Stored(None))
    torch.testing.assert_close(clean.model(clean.images).softmax(dim=1), model(clean.images).softmax(dim=1))


def test_a_manipulated_model_is_made_once(tmp_path):
    clean, stored = tiny_model(0), Stored(tmp_path)
    hoax = hoax_for(clean)
    models = [manipulate(TINY, 0, "last", SHAM, w, clean, hoax, stored, quick=True)[0] for w in (1.0, 1.0, 2.0)]
    first, again, other = (model.tail.head.weight for model in models)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len(list(tmp_path.iterdir())) == 2


def test_the_hoax_map_has_the_entropy_of_clean_maps():
    clean = tiny_model(0)
    batches = torch.cat(list(clean.attacker_batches))
    target = clean.model.tail(batches).argmax(dim=1)
    maps = attacked_methods(clean)[PLAIN].maps(clean.model.tail, clean.layer, batches, target)
    maps = maps[maps.flatten(1).amax(dim=1) > 0]
    assert cam_entropy(hoax_for(clean)[None]).item() == pytest.approx(cam_entropy(maps).mean().item(), abs=0.05)


def test_settings_without_data_are_left_out_with_a_warning(monkeypatch, capsys):
    monkeypatch.setattr("benchmarks.common.clean_models.find_material", lambda *folders: None)
    monkeypatch.setattr("benchmarks.common.clean_models.find_fashion", lambda *folders: None)
    assert list(settings(Stored(None))) == [GLYPHS, GLYPHS_2, GLYPHS_100]
    warnings = capsys.readouterr().err
    assert warnings.count("warning: ") == warnings.count("\n") == 2


def test_a_folder_without_folders(tmp_path):
    with pytest.raises(UsageError, match=r"--data.*nowhere"):
        image_folder(tmp_path / "nowhere")
