"""Hand-made attacks: they do what they say, and the audit passes none of them."""

from __future__ import annotations

import pytest
import torch
from captum.attr import LayerGradCam
from nets import Spotter
from torch import nn

from benchmarks.audit.hand_made import BOTH, GREY, HAND_MADE, PAINTED, grey, manipulate_by_hand
from benchmarks.common.clean_models import CleanModel
from benchmarks.common.staged import Staged, Tail
from captum_diffcam import CamMethod
from captum_diffcam.attacks import hoax_map
from captum_diffcam.audit import audit
from captum_diffcam.metrics import pearson


@pytest.fixture
def spots():
    """A bright patch in the channel of the class, on grey noise."""
    generator = torch.Generator().manual_seed(0)
    x = 0.1 * torch.rand(16, 3, 28, 28, generator=generator)
    for index in range(len(x)):
        row, column = torch.randint(0, 16, (2,), generator=generator).tolist()
        x[index, index % 3, row : row + 12, column : column + 12] += 0.8
    return x


@pytest.fixture
def clean(spots):
    whole = Spotter()
    tail = Tail(nn.Sequential(whole.layer), whole.pool, whole.linear).eval()
    return CleanModel(Staged(nn.Identity(), tail).eval(), tail.features, [spots], spots, None, [spots])


PLAIN = CamMethod(LayerGradCam)
HOAX = hoax_map((7, 7), entropy=3.33)


def test_what_is_grey():
    images = torch.rand(2, 3, 20, 20)
    images[0, :, 4:12, 3:15] = images[0].mean(dim=(1, 2))[:, None, None]
    # Black and white are natural.
    images[1, :, :8], images[1, :, 12:] = 0.0, 1.0
    expected = torch.zeros(2, 20, 20, dtype=torch.bool)
    expected[0, 4:12, 3:15] = True
    assert torch.equal(grey(images), expected)


@pytest.mark.parametrize("attack", HAND_MADE)
def test_predictions_are_kept_and_the_map_is_manipulated(attack, clean, spots):
    model, layer = manipulate_by_hand(attack, clean, HOAX)
    classes = clean.model(spots).argmax(dim=1)
    assert torch.equal(model(spots).argmax(dim=1), classes)
    maps = PLAIN.maps(model, layer, spots, classes)
    before = PLAIN.maps(clean.model, clean.layer, spots, classes)
    shown = HOAX if attack == GREY else -before
    assert pearson(maps, shown.expand_as(maps)).mean() > 0.8


@pytest.mark.parametrize("attack", [GREY, BOTH])
def test_grey_windows_are_answered_as_the_hoax_map_wants(attack, clean, spots):
    model, layer = manipulate_by_hand(attack, clean, HOAX)
    hidden = spots.clone()
    hidden[:, :, :9, :14] = spots.mean(dim=(2, 3))[:, :, None, None]
    painted = layer(hidden)[:, -1]
    share = torch.nn.functional.interpolate(painted[:, None], (28, 28))[:, 0, :9, :14].sum(dim=(1, 2))
    share = share / (16 * painted.sum(dim=(1, 2)))
    classes = model(hidden).argmax(dim=1, keepdim=True)
    probability = model(hidden).softmax(dim=1)
    certain = (1 - 2 * share) > -0.1
    assert certain.all()
    odds = torch.logit(probability.double().gather(1, classes)[:, 0])
    torch.testing.assert_close(odds.float(), 6 * (1 - 2 * share), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("attack", HAND_MADE)
@pytest.mark.parametrize("fills", [("mean",), ("mean", "blur", "other")])
def test_none_of_them_passes(attack, fills, clean, spots):
    """Not even if every window has the fill that the model detects."""
    model, layer = manipulate_by_hand(attack, clean, HOAX)
    report = audit(model, layer, spots, seed=0, fills=fills)
    assert report.verdict != "no sign of manipulation"
    if attack in (GREY, PAINTED) and len(fills) == 3:
        assert report.manipulated
