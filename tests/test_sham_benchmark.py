"""The benchmark of attacks: its measures against replicas, its bookkeeping, and what it refuses."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import pearsonr, spearmanr
from torch import nn

from benchmarks import attacks, sham, sham_measures, sham_targets, victims
from benchmarks.__main__ import main
from benchmarks.attacks import ATTACKS, CONTROL, INJECTION, attacks_of, forge, measured_methods
from benchmarks.audit_measures import audited, separating_threshold
from benchmarks.glyph_classifier import GlyphClassifier
from benchmarks.glyphs import draw_scenes
from benchmarks.sham_jobs import AUDITED, HONEST, Outcome, attack_in_every_way
from benchmarks.sham_targets import reached
from benchmarks.staged import Remembering, Staged, Tail
from benchmarks.victims import Recipe, Setting, Victim
from captum_diffcam.sham import cam_entropy, hoax_map, inject_hoax

CPU = torch.device("cpu")


def tiny_victim(seed: int, quick: bool) -> Victim:
    torch.manual_seed(seed)
    stem = Remembering(nn.Conv2d(3, 4, 8, stride=8))
    tail = Tail(nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), nn.ReLU()), nn.Linear(6, 12))
    scenes = draw_scenes(12, 6, seed)
    data = [stem(batch) for batch in torch.split(draw_scenes(12, 8, seed + 1).images, 4)]
    model = Staged(stem, tail).eval()
    return Victim(
        model, tail.features, data, scenes.images, scenes.labels[:, 0], scenes.masks[:, 0], Recipe(2, 1e-3, 1.0)
    )


TINY = Setting("tiny", 12, tiny_victim)


@pytest.fixture(scope="module")
def outcome():
    return attack_in_every_way(TINY, 0, True, CPU)


def test_maps_against_replicas():
    generator = torch.Generator().manual_seed(0)
    maps, honest = torch.randn(2, 5, 7, 7, generator=generator)
    hoax = hoax_map((7, 7), entropy=3.3)
    masks = torch.zeros(5, 14, 14, dtype=torch.bool)
    masks[:, :, 7:] = True
    found = sham_measures.of_maps(maps, honest, hoax, masks)
    pairs = list(zip(maps.numpy(), honest.numpy(), strict=True))

    def mean(measure):
        return pytest.approx(np.mean([measure(a.ravel(), b.ravel()) for a, b in pairs]), abs=1e-5)

    def lit(a):
        return np.maximum(a, 0) / a.max()

    assert found["pearson_honest"] == mean(lambda a, b: pearsonr(a, b).statistic)
    assert found["pearson_hoax"] == mean(lambda a, b: pearsonr(a, hoax.numpy().ravel()).statistic)
    assert found["spearman_honest"] == mean(lambda a, b: spearmanr(a, b).statistic)
    assert found["largest_change"] == pytest.approx(max(np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in pairs))
    losses = [np.mean((lit(a) - hoax.numpy() / hoax.numpy().max()) ** 2) for a, _ in pairs]
    assert found["success_rate"] == np.mean(np.array(losses) <= 0.2)
    assert found["entropy"] == pytest.approx(cam_entropy(maps).mean().item())
    assert found["ssim_honest"] < 0.9


def test_a_map_that_is_the_hoax():
    hoax = hoax_map((7, 7), entropy=3.3)
    maps = 3 * hoax.expand(2, -1, -1)
    found = sham_measures.of_maps(maps, torch.rand(2, 7, 7), hoax, None)
    assert found["pearson_hoax"] == pytest.approx(1)
    assert found["ssim_hoax"] == pytest.approx(1)
    assert found["success_rate"] == 1
    assert "energy" not in found


def test_energy_of_a_map_on_one_half():
    maps = torch.zeros(1, 2, 2)
    maps[0, 0, 1], maps[0, 1, 0] = 3.0, -5.0
    masks = torch.zeros(1, 2, 2, dtype=torch.bool)
    masks[0, :, 1] = True
    hoax = hoax_map((2, 2), entropy=0.0)
    # Windows of SSIM need three positions.
    bigger = [torch.nn.functional.interpolate(m[None].float(), size=8)[0] for m in (maps, masks.float())]
    found = sham_measures.of_maps(bigger[0], bigger[0], hoax_map((8, 8), entropy=3.0), bigger[1] > 0)
    assert found["energy"] == pytest.approx(1)
    assert hoax.sum() == 1


def test_decisions_by_hand():
    class Constant(nn.Module):
        def __init__(self, probabilities):
            super().__init__()
            self.logits = torch.tensor(probabilities).log()

        def forward(self, images):
            return self.logits.expand(len(images), -1)

    victim = Victim(
        Constant([0.5, 0.25, 0.25]),
        nn.Identity(),
        [],
        torch.zeros(4, 3, 2, 2),
        torch.tensor([0, 0, 1, 2]),
        None,
        Recipe(1, 1, 1),
    )
    found = sham_measures.decisions(victim, Constant([0.2, 0.7, 0.1]))
    assert found["honest_accuracy"] == 0.5
    assert found["accuracy"] == 0.25
    assert found["top1_agreement"] == 0
    kl = 0.5 * np.log(0.5 / 0.2) + 0.25 * np.log(0.25 / 0.7) + 0.25 * np.log(0.25 / 0.1)
    assert found["kl"] == pytest.approx(kl)
    assert found["largest_change"] == pytest.approx(0.45)


def test_every_attack_on_one_model(outcome):
    assert list(outcome.attacks) == [HONEST, INJECTION, *ATTACKS]
    honest = outcome.attacks[HONEST]
    assert honest["decisions"]["top1_agreement"] == 1
    assert honest["decisions"]["kl"] == 0
    for numbers in honest["methods"].values():
        assert numbers["pearson_honest"] == pytest.approx(1)
        assert numbers["largest_change"] == 0
    injected = outcome.attacks[INJECTION]
    assert injected["methods"]["LayerGradCam"]["pearson_hoax"] > 0.95
    assert injected["methods"]["DiffGradCAM mean, every other class"]["largest_change"] < 1e-3
    assert injected["decisions"]["largest_change"] < 1e-5
    changes = {
        name: attacked["methods"]["LayerGradCam"]["largest_change"] for name, attacked in outcome.attacks.items()
    }
    # Of two steps the first may be the best, and the honest model come back.
    assert sum(change > 0 for name, change in changes.items() if name != HONEST) > len(ATTACKS) // 2
    assert all(len(attacked["scores"]) == len(attacked["disagreement"]) == 6 for attacked in outcome.attacks.values())


def test_the_attackers_images_are_not_the_reported_ones(monkeypatch):
    drawn = []

    def draw(classes, count, seed, objects=1):
        drawn.append(seed)
        return draw_scenes(classes, 4, seed)

    monkeypatch.setattr(victims, "draw_scenes", draw)
    monkeypatch.setattr(victims, "train_classifier", lambda classes, seed, images: GlyphClassifier(classes).eval())
    one, other = (victims.glyphs(12).make(seed, True) for seed in (0, 1))
    # Those that train have the seed of the model.
    assert len({0, 1, *drawn}) == 2 + 4
    assert not torch.equal(one.images, other.images)


def test_the_photographs_that_are_reported_are_not_those_of_the_attacker(monkeypatch):
    """Every photograph one grey of its own: which one a crop is from can be read off."""
    paths = victims._all_photographs()
    grey = {path: Image.new("RGB", (300, 300), (5 * index,) * 3) for index, path in enumerate(paths)}
    monkeypatch.setattr(victims, "load_image", grey.get)
    monkeypatch.setattr(victims, "Remembering", lambda stem: nn.Identity())
    monkeypatch.setattr(victims, "_varied", lambda features, seed: [features])
    monkeypatch.setattr(victims.v2, "ColorJitter", lambda *strength: nn.Identity())
    victim = victims.photographs().make(0, True)
    seen, reported = victim.attack_data[0], victim.images

    def shades(images):
        return {round(float(value) * 100) for value in images.flatten(1).unique()}

    assert len(shades(reported)) == 4
    assert not shades(reported) & shades(seen)


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


def test_names_of_methods():
    names = list(measured_methods({}))
    assert len(names) == 14
    assert set(AUDITED) <= set(names)


def audited_outcome(**scores):
    attacks = {name: {"scores": value, "disagreement": value[::-1]} for name, value in scores.items()}
    return Outcome(attacks, torch.zeros(3, 2, 2), torch.zeros(2, 2), {})


def test_the_audit_by_hand():
    low, high = [0.1] * 32 + [0.3] * 32, [0.9] * 32 + [0.2] * 32
    outcomes = [audited_outcome(**{HONEST: low, CONTROL: low, "lie": high})]
    found = audited(outcomes, threshold=0.25)
    assert found[HONEST] == {"score": pytest.approx(0.2), "called_manipulated": 0.5, "batches": 2}
    # Of 2 x 4 pairs of batches the attacked one is higher in 4 + 2.
    assert found["lie"]["auroc_model"] == 0.75
    assert found["lie"]["auroc_image"] == 0.75
    assert found["lie"]["called_manipulated"] == 0.5
    assert separating_threshold(outcomes) == (pytest.approx(0.3), pytest.approx(0.2))


def test_a_rest_that_fills_no_batch_is_left_out():
    assert (
        audited([audited_outcome(**{HONEST: [0.0] * 40, CONTROL: [0.0] * 40, "lie": [1.0] * 40})], 0.5)["lie"][
            "batches"
        ]
        == 1
    )
    assert (
        audited([audited_outcome(**{HONEST: [0.0] * 8, CONTROL: [0.0] * 8, "lie": [1.0] * 8})], 0.5)["lie"]["batches"]
        == 1
    )


def test_a_run_with_its_targets(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sham, "chosen_settings", lambda args: [TINY])
    assert main(["sham", "--workers", "1", "--seeds", "2", "--output", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "sham.json").read_text())
    assert record["complete"]
    assert record["seeds"] == [0, 1]
    assert record["command"] == "python -m benchmarks sham --workers 1 --seeds 2"
    (setting,) = record["settings"]
    hoax = setting["attacks"]["SHAM, true class"]["methods"]["LayerGradCam"]["pearson_hoax"]
    assert hoax["low"] <= hoax["mean"] <= hoax["high"]
    for target in record["targets"]:
        sign, bound = target["bound"].split()
        met = target["value"] >= float(bound) if sign == ">=" else target["value"] <= float(bound)
        assert target["reached"] == met
    assert [target["figure"].partition(":")[0] for target in record["targets"]] == ["injection"] * 3 + ["SHAM"] * 4 + [
        "audit"
    ]
    assert record["targets"] == json.loads(json.dumps(reached(record["settings"])))
    printed = capsys.readouterr().out
    assert "tiny: correlation with the hoax" in printed
    for name in ("decisions.csv", "maps.csv", "audit.csv", "maps-1.png"):
        assert (tmp_path / name).stat().st_size > 0
    assert (tmp_path / "maps.csv").read_text().count("\n") == 1 + 12 * 14


def test_the_worst_attack_is_the_audits_target():
    found = {"honest": {}, "a": {"auroc_model": 1.0}, "b": {"auroc_model": 0.6}}
    record = {"setting": "s", "audit": found}
    assert sham_targets._audit(record)["value"] == 0.6
    assert not sham_targets._audit(record)["reached"]


@pytest.mark.parametrize(("name", "steps"), [("SHAM, true class", 4), ("SHAM, all classes", 2)])
def test_how_long_an_attack_lasts(monkeypatch, name, steps):
    asked = {}
    monkeypatch.setattr(attacks, "fool", lambda *a, **k: asked.update(k) or inject_hoax(*a[:2], hoax_map((7, 7), 3.3)))
    forge(tiny_victim(0, True), name, hoax_map((7, 7), 3.3), 0)
    assert asked["steps"] == steps
    assert asked["weight"] == 1.0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--model", "resnet18"], "--model: needs --data"),
        (["--weights", "DEFAULT"], "--weights, --layer: are those of --model"),
        (["--data", "nowhere"], "--data: there is no FashionMNIST/raw in 'nowhere'"),
        (["--model", "resnet18", "--data", "nowhere"], "--data: 'nowhere' is no folder with a folder of images"),
        (["--seeds", "0"], "--seeds: got '0'"),
    ],
)
def test_what_cannot_be_done_is_one_line(options, said, tmp_path, capsys):
    assert main(["sham", *options, "--output", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
