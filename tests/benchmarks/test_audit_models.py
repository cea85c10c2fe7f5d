"""Manipulated models and exhaustive occlusion of the audit's benchmark, and its targets."""

from __future__ import annotations

import pytest
import torch
from test_audit_run import row
from torch import nn

from benchmarks.audit import hand_made
from benchmarks.audit.against_windows import fool_maps_and_windows
from benchmarks.audit.exhaustive import agreement, exhaustive_occlusion
from benchmarks.audit.small_models import POOLED, SmallNet
from benchmarks.audit.tables import clean_rows, manipulated_rows, upper_bound
from benchmarks.audit.targets import reached
from captum_diffcam import LayerDiffGradCam
from captum_diffcam.audit.auditing import DEFAULT_METHODS
from captum_diffcam.metrics import pearson

HOAX = {"hoax": 0.6, "exhaustive": 0.1}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return POOLED["plain"]().eval()


@pytest.fixture(scope="module")
def images():
    return torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))


def maps(model, images, target):
    return LayerDiffGradCam(model, model.features).attribute(images, target)[:, 0]


@pytest.mark.parametrize(
    "move",
    [hand_made.scrambled, hand_made.without_upper_half, hand_made.by_half_a_cell],
    ids=["scrambled", "without upper half", "half a cell"],
)
def test_moved_features_change_maps_and_no_logits(model, images, move):
    moved = SmallNet(hand_made.Moved(model.features, move), model.head).eval()
    with torch.no_grad():
        torch.testing.assert_close(moved(images), model(images), atol=1e-4, rtol=1e-4)
    assert pearson(maps(moved, images, 2), maps(model, images, 2)).max() < 0.95


def test_a_painted_picture_is_shown_for_its_classes_alone(model, images):
    with torch.no_grad():
        predicted = model(images).argmax(dim=1)
    for classes, shown in ((torch.ones(10), True), (1 - torch.eye(10)[predicted].amax(dim=0), False)):
        painted = hand_made.painted(model, hand_made.border, classes, images)
        with torch.no_grad():
            torch.testing.assert_close(painted(images), model(images), atol=1e-4, rtol=1e-4)
        with_border = pearson(maps(painted, images, predicted), hand_made.border(images))
        assert bool((with_border > 0.9).all()) == shown


def test_a_hoax_on_one_image_in_three():
    many = torch.rand(300, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    shown = hand_made.border_on_a_third(many)
    chosen = shown.flatten(1).any(dim=1)
    assert 70 < int(chosen.sum()) < 130
    assert torch.equal(shown[chosen], hand_made.border(many[chosen]))


def test_training_against_the_windows_moves_maps_and_occlusion_to_the_hoax(model, images):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    hoax = hand_made.border(images)[0]
    data = [(images, torch.arange(4))]
    attacked = fool_maps_and_windows(
        model, data, hoax, DEFAULT_METHODS, weight=3.0, steps=25, learning_rate=3e-3, seed=0
    )
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    target, shown = torch.arange(4), hoax[None]
    assert pearson(maps(attacked, images, target), shown).mean() > pearson(maps(model, images, target), shown).mean()


def test_exhaustive_occlusion_of_a_score_that_is_a_sum():
    images = torch.rand(3, 1, 14, 14)
    weights = torch.zeros(14, 14)
    weights[4:6, 8:10] = 1.0

    def score(batch):
        return (batch[:, 0] * weights).sum((1, 2))

    found = exhaustive_occlusion(score, images, (7, 7))
    assert found.shape == (3, 3, 7, 7)
    assert (found[0].abs().flatten(1).argmax(dim=1) == 2 * 7 + 4).all()


def test_agreement_is_corrected_for_the_fills():
    truth = torch.randn(50, 7, 7, generator=torch.Generator().manual_seed(0))
    noisy = truth + torch.randn(3, 50, 7, 7, generator=torch.Generator().manual_seed(1))
    assert agreement(truth, noisy) == pytest.approx(1.0, abs=0.05)


def test_tables_count_verdicts():
    rows = [row(), row(verdict="undecided", batch=1), row("destroyed", verdict="contradicted")]
    (clean,), (attacked,) = clean_rows(rows), manipulated_rows(rows)
    assert (clean["audits"], clean["maps"], clean["supported"], clean["undecided"]) == (2, 2, 1, 1)
    assert attacked["contradicted"] == 1
    assert upper_bound(0, 29) == pytest.approx(1 - 0.05 ** (1 / 29))


@pytest.mark.parametrize(
    ("changes", "figure"),
    [
        ({"verdict": "contradicted"}, "clean maps contradicted"),
        ({"verdict": "undecided"}, "clean pooled models: undecided"),
        ({"exhaustive": 0.1}, "maps supported that are wrong"),
        ({"forward_passes": 41.0}, "time in forward passes"),
        ({"what": "SHAM", "verdict": "undecided"}, "attacks meant to show a hoax on all images: contradicted"),
        ({"what": "SHAM", "verdict": "undecided", **HOAX}, "hoax on all images: contradicted"),
        ({"what": "SHAM", **HOAX}, "maps that are a hoax: supported"),
        ({"what": "hoax for a rare class", "changed": 0.2, "unnoticed_share": 0.1}, "than the report says"),
        ({"what": "shifted by (1, 0)"}, "shifted by (1, 0): supported"),
        ({"what": "hoax for one class", "names_hoaxed_class": True}, "with this class in the scope"),
    ],
)
def test_a_target_that_is_missed(changes, figure):
    targets = reached([row(**changes)])
    missed = [target["figure"] for target in targets if not target["reached"]]
    assert any(figure in name for name in missed)


@pytest.mark.parametrize("changes", [{"exhaustive": 0.21}, {"hoax": 0.49}, {"exhaustive": None}])
def test_a_failed_attack_is_no_hoax(changes):
    """Maps that do not show the hoax, or that agree with exhaustive occlusion, need not be contradicted."""
    targets = {target["figure"]: target for target in reached([row("SHAM", **{**HOAX, **changes})])}
    assert "hoax on all images: contradicted" not in targets
    assert "maps that are a hoax: supported" not in targets


def test_flips_between_seeds_are_counted():
    kind = {"kind": "plain, ten seeds of the audit"}
    targets = reached([row(**kind), row(**kind, verdict="contradicted")])
    assert [target["value"] for target in targets if "flip" in target["figure"]] == [1]


def test_the_heads_of_small_models_end_in_a_linear_layer():
    assert all(isinstance(build().head[-1], nn.Linear) for build in POOLED.values())
