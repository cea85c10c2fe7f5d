"""The measures of the faithfulness benchmark, by hand and by slow re-derivations, and whom they compare."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from captum.attr import LayerGradCam
from nets import conv_net, images
from scipy.stats import mannwhitneyu
from torch import nn

from benchmarks import contenders, perturbing
from benchmarks.bootstrap import Bootstrap, Estimate
from benchmarks.examining import correlation
from benchmarks.explainers import PAIRWISE, Question, explainers, log_odds_and_margin, put_out
from benchmarks.findings import Sample, parting, targets
from benchmarks.layers import choose_layer
from benchmarks.localization import auroc, energy, pointing, regions, upsample
from benchmarks.remembering import remembering
from captum_diffcam import ContrastScore, LayerDiffGradCam, LayerDiffGradCamPlusPlus


def mask(*rows: str) -> torch.Tensor:
    return torch.tensor([[character == "#" for character in row] for row in rows])


# Localization


def test_regions_by_hand():
    a, b = mask("#......"), mask("....#..")
    parts = regions(torch.stack([a, b])[None], reach=2)[0].int().flatten(1).tolist()
    # Reach 2: A covers columns 0 to 2, B 2 to 6. Column 2 is near both and counts nowhere.
    assert parts == [[1, 1, 0, 0, 0, 0, 0], [0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0, 0]]


def test_without_reach_the_regions_are_the_masks():
    a, b = mask("##..", "...."), mask("....", "..##")
    parts = regions(torch.stack([a, b])[None], reach=0)[0]
    assert torch.equal(parts, torch.stack([a, b, ~(a | b)]))


def test_energy_by_hand():
    parts = torch.stack([mask("#..."), mask(".#.."), mask("..#.")])[None]
    # The last pixel is in no region, so it is not in the total either; what is negative counts nowhere.
    found = energy(torch.tensor([[[3.0, 1.0, 4.0, 100.0]], [[2.0, -5.0, 0.0, 0.0]], [[-1.0, -1.0, -1.0, 7.0]]]), parts)
    torch.testing.assert_close(found, torch.tensor([[3 / 8, 1 / 8, 4 / 8], [1, 0, 0], [0, 0, 0]]))


def test_pointing_by_hand():
    part = mask("##..")[None].expand(4, 1, 4)
    maps = torch.tensor([[[1.0, 3, 2, 0]], [[1, 2, 3, 0]], [[2, 0, 2, 0]], [[0, 0, 0, 0]]])
    assert pointing(maps, part).tolist() == [1, 0, 0.5, 0]
    assert pointing(maps - 5, part).tolist() == [0, 0, 0, 0]


def test_auroc_is_the_share_of_pairs():
    torch.manual_seed(0)
    # Few values, so that there are ties.
    maps = torch.randint(0, 6, (5, 8, 9)).float()
    positive = torch.rand(5, 8, 9) < 0.3
    negative = ~positive & (torch.rand(5, 8, 9) < 0.5)
    found = auroc(maps, positive, negative)
    for map_, p, n, value in zip(maps, positive, negative, found.tolist(), strict=True):
        statistic = mannwhitneyu(map_[p].numpy(), map_[n].numpy()).statistic
        assert value == pytest.approx(statistic / (p.sum() * n.sum()))
    torch.testing.assert_close(auroc(-maps, positive, negative), 1 - found)
    assert auroc(torch.zeros(5, 8, 9), positive, negative).tolist() == [0.5] * 5


def test_localization_does_not_see_the_scale_of_a_map():
    torch.manual_seed(1)
    maps, parts = torch.randn(3, 6, 6), torch.rand(3, 3, 6, 6) < 0.3
    for measure in (
        lambda m: energy(m, parts),
        lambda m: pointing(m, parts[:, 0]),
        lambda m: auroc(m, parts[:, 0], parts[:, 1]),
    ):
        torch.testing.assert_close(measure(8 * maps), measure(maps))


def test_maps_are_enlarged_as_captum_does():
    maps = torch.rand(2, 3, 3)
    expected = LayerGradCam.interpolate(maps[:, None], (7, 5), "bilinear")[:, 0]
    assert torch.equal(upsample(maps, 7, 5), expected)
    assert upsample(maps, 3, 3) is maps


# Perturbation


def test_ranks_go_from_the_highest_down():
    maps = torch.tensor([[[3.0, 9.0], [-1.0, 4.0]]])
    assert perturbing.pixel_ranks(maps, 0).tolist() == [[[2, 0], [3, 1]]]


def test_ties_fall_anywhere_but_the_same_for_all():
    maps = torch.zeros(2, 6, 6)
    maps[:, 5, 5] = 1
    ranks = perturbing.pixel_ranks(maps, 7)
    assert ranks[:, 5, 5].tolist() == [0, 0]
    assert torch.equal(ranks[0], ranks[1])
    assert ranks[0].flatten().sort().values.tolist() == list(range(36))
    assert not torch.equal(ranks, perturbing.pixel_ranks(maps, 8))
    # Not from the upper left corner.
    assert ranks[0].flatten().tolist() != [*range(1, 36), 0]


def brightness(inputs: torch.Tensor) -> torch.Tensor:
    total = inputs.flatten(1).sum(dim=1)
    return torch.stack([total, total - 6], dim=1)


def test_curves_by_hand():
    """Four pixels of one channel; two steps: after a quarter of the pixels, after all."""
    before, after = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), torch.zeros(1, 1, 2, 2)
    ranks = torch.tensor([[[[3, 2], [1, 0]]], [[[0, 1], [2, 3]]]])
    curves = perturbing.replacement_curves(brightness, before, after, ranks, steps=2)
    assert perturbing.shares(2).tolist() == [0, 0.25, 1]
    assert curves[:, 0, :, 0].tolist() == [[10, 6, 0], [10, 9, 0]]
    # Trapezoids: a quarter of the way from 10 to 6, then three quarters from 6 to 0.
    torch.testing.assert_close(perturbing.area(curves)[:, 0, 0], torch.tensor([2 + 2.25, 2.375 + 3.375]))
    # The second score is 6 below: 4, 0, -6 falls below zero at once after a quarter, 4, 3, -6 a third of the way on.
    torch.testing.assert_close(perturbing.crossing(curves[..., 1])[:, 0], torch.tensor([0.25, 0.25 + 0.75 / 3]))


def test_crossing_at_the_ends():
    curves = torch.tensor([[1.0, 2, 3], [-1, 2, 3], [0, 0, 0], [2, -2, 5]])
    torch.testing.assert_close(perturbing.crossing(curves), torch.tensor([1, 0, 1, 0.125]))


def test_replacing_everything_is_the_other_image():
    before, after = images()[:2], torch.zeros_like(images()[:2])
    ranks = torch.stack([perturbing.pixel_ranks(torch.rand(2, 9, 9), seed) for seed in range(3)])
    curves = perturbing.replacement_curves(brightness, before, after, ranks, steps=5)
    back = perturbing.replacement_curves(brightness, after, before, ranks, steps=5)
    assert curves.shape == (3, 2, 6, 2)
    torch.testing.assert_close(curves[:, :, 0], brightness(before).expand(3, -1, -1))
    torch.testing.assert_close(curves[:, :, -1], brightness(after).expand(3, -1, -1))
    # For a sum, what one way removes the other puts in.
    torch.testing.assert_close(curves[..., 0] + back[..., 0], brightness(before)[:, 0][None, :, None].expand(3, 2, 6))


@pytest.mark.filterwarnings("ignore")  # Quantus and what it imports warn a great deal
def test_the_deletion_curve_is_that_of_quantus(net, x):
    quantus = pytest.importorskip("quantus", exc_type=ImportError)
    # On a grid of every pixel, with the score of our choice.
    maps = torch.rand(len(x), *x.shape[2:], generator=torch.Generator().manual_seed(5))
    score, target = ContrastScore(net), torch.tensor([0, 1, 2])
    metric = quantus.RegionPerturbation(
        patch_size=1, regions_evaluation=81, perturb_baseline=0.0, abs=False, normalise=False, display_progressbar=False
    )
    theirs = metric(score, x.numpy(), target.numpy(), maps[:, None].numpy(), softmax=False, device="cpu")

    def ours(inputs):
        return score(inputs).gather(1, target[:, None])

    ranks = perturbing.pixel_ranks(maps, 0)[None]
    curves = perturbing.replacement_curves(ours, x, torch.zeros_like(x), ranks, steps=9)[0, :, :, 0]
    for step in range(1, 10):
        # Theirs is what is lost when step * step of 81 pixels are gone.
        lost = [curve[step * step - 1] for curve in theirs]
        assert (curves[:, 0] - curves[:, step]).tolist() == pytest.approx(lost, abs=1e-5)


def linear_score(weights: torch.Tensor):
    return lambda inputs: (inputs * weights).flatten(1).sum(dim=1)


def test_a_map_that_adds_up_leaves_nothing_unexplained(x):
    weights, blank = torch.randn(x.shape[1:], generator=torch.Generator().manual_seed(2)), torch.full((3, 1, 1), 0.3)
    exact = (weights * (x - blank)).sum(dim=1)
    score = linear_score(weights)
    # Whatever its scale; an empty map explains nothing.
    for maps, expected in ((exact, 0.0), (50 * exact, 0.0), (0 * exact, 1.0)):
        found = perturbing.unexplained(score, x, maps, blank, samples=12, seed=3)
        torch.testing.assert_close(found, torch.full((3,), expected), atol=1e-5, rtol=0)


def test_what_is_unexplained_is_what_regression_leaves(net, x):
    """1 minus the squared cosine between what a square holds of the map and what the score loses with it."""
    maps, blank = torch.randn(3, 9, 9, generator=torch.Generator().manual_seed(4)), torch.zeros(3, 1, 1)

    def score(inputs):
        return net(inputs)[:, 2]

    found = perturbing.unexplained(score, x, maps, blank, samples=6, seed=11)
    repeated = x.repeat_interleave(6, dim=0)
    squares = perturbing._squares(repeated, torch.Generator().manual_seed(11))
    with torch.no_grad():
        lost = (score(repeated) - score(torch.where(squares, blank, repeated))).reshape(3, 6).double()
    held = (squares[:, 0] * maps.repeat_interleave(6, dim=0)).sum(dim=(1, 2)).reshape(3, 6).double()
    cosine = torch.nn.functional.cosine_similarity(lost, held)
    torch.testing.assert_close(found.double(), 1 - cosine**2, atol=1e-4, rtol=1e-4)


def test_squares_lie_within_the_image():
    squares = perturbing._squares(torch.zeros(200, 3, 30, 40), torch.Generator().manual_seed(0))[:, 0]
    heights, widths = squares.any(dim=2).sum(dim=1), squares.any(dim=1).sum(dim=1)
    assert torch.equal(squares.sum(dim=(1, 2)), heights * widths)
    assert (heights - widths).abs().max() <= 1
    assert heights.min() >= 5
    assert heights.max() <= 16


def test_a_score_that_remembers_is_the_same_score(x):
    calls = []

    def score(inputs):
        calls.append(len(inputs))
        return inputs.sum(dim=(1, 2, 3))

    remembered = remembering(score)
    for inputs in (x, x + 1, x.clone(), x[:1]):
        torch.testing.assert_close(remembered(inputs), inputs.sum(dim=(1, 2, 3)))
    assert calls == [3, 3, 1]


def test_sensitivity_is_captums():
    x = images()
    assert perturbing.sensitivity(lambda inputs: torch.ones(len(inputs), 9, 9), x, 4, 0).tolist() == [0, 0, 0]
    state = torch.get_rng_state()
    found = [perturbing.sensitivity(lambda inputs: inputs.mean(dim=1), x, 4, seed) for seed in (0, 0, 1)]
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    # The noise is at most 0.02 in each pixel, so it is no more of the map's norm than that.
    bound = 0.02 * 9 / x.mean(dim=1).flatten(1).norm(dim=1)
    assert (found[0] > 0).all()
    assert (found[0] < bound).all()


# Statistics


def test_the_interval_of_a_mean_is_the_percentile_bootstrap():
    values = np.random.default_rng(0).gamma(1.0, size=80)
    found = Bootstrap(np.zeros(80), np.arange(80), seed=1).mean(values)
    rng = np.random.default_rng(2)
    means = [values[rng.integers(80, size=80)].mean() for _ in range(5000)]
    assert found.value == pytest.approx(values.mean())
    assert found[1:] == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.02)


def test_the_median_is_that_of_the_repeated_images():
    rng = np.random.default_rng(3)
    values, boot = rng.normal(size=31), Bootstrap(np.zeros(31), np.arange(31), seed=4)
    found = boot.median(values)
    medians = [sorted(np.repeat(values, draw))[15] for draw in boot.weights]
    assert found.value == np.median(values)
    assert found[1:] == pytest.approx(np.quantile(medians, [0.025, 0.975]))


def test_strata_keep_their_size_and_clusters_stay_together():
    strata = np.repeat([0, 1], [12, 18])
    clusters = np.concatenate([np.arange(12) // 2, np.arange(18) // 3])
    weights = Bootstrap(strata, clusters, seed=0).weights
    assert (weights[:, :12].sum(axis=1) == 12).all()
    assert (weights[:, 12:].sum(axis=1) == 18).all()
    assert (weights[:, 0:12:2] == weights[:, 1:12:2]).all()
    assert len(np.unique(weights[:, ::2], axis=0)) > 900


def test_what_differs_between_models_alone_has_no_interval():
    """Models are not resampled, images are."""
    strata = np.repeat([0, 1, 2], 10)
    found = Bootstrap(strata, np.arange(30), seed=0).mean(strata.astype(float))
    assert found == (1, 1, 1)


def test_views_of_one_photograph_are_one_photograph():
    """Copies of a view add nothing to what is known."""
    values = np.random.default_rng(5).normal(size=12)
    alone = Bootstrap(np.zeros(12), np.arange(12), seed=6).mean(values)
    copied = Bootstrap(np.zeros(120), np.arange(120) % 12, seed=6).mean(np.tile(values, 10))
    assert copied == pytest.approx(alone)


def test_numbers_that_are_missing_or_too_few():
    boot = Bootstrap(np.zeros(9), np.arange(9), seed=0)
    values = np.array([1.0, np.nan, 2, 3, 4, 5, np.nan, 6, 7])
    assert boot.mean(values).value == 4
    assert boot.median(values).value == 4
    assert 1 < boot.mean(values).lower < 4 < boot.mean(values).upper < 7
    # Draws differ in how many numbers they hold.
    assert boot.mean(np.where(np.isnan(values), values, 2.0)) == (2, 2, 2)
    few = np.where(np.arange(9) < 4, 1.0, np.nan)
    for estimate in (boot.mean(few), boot.median(few)):
        assert estimate.value == 1
        assert np.isnan(estimate[1:]).all()
        assert not estimate.excludes_zero
    assert np.isnan(boot.mean(np.full(9, np.nan))).all()


def test_what_excludes_zero():
    assert Estimate(1, 0.1, 2).excludes_zero
    assert Estimate(-1, -2, -0.1).excludes_zero
    assert not Estimate(1, -0.1, 2).excludes_zero


def test_correlation():
    one, other = torch.randn(4, 5, 6), torch.randn(4, 5, 6)
    expected = [np.corrcoef(a.flatten(), b.flatten())[0, 1] for a, b in zip(one, other, strict=True)]
    assert correlation(one, other).tolist() == pytest.approx(expected, abs=1e-6)
    assert correlation(one, torch.ones(4, 5, 6)).isnan().all()


# Who is compared


def question_of(net, x) -> Question:
    with torch.no_grad():
        return Question.of(net(x), torch.tensor([0, 1, 2]), torch.tensor([5, 3, 0]))


def test_the_nearest_classes_leave_the_target_out():
    logits = torch.tensor([[1.0, 5, 4, 2, -9], [3, 0, 0.5, 9, 3.5]])
    question = Question.of(logits, torch.tensor([1, 0]), torch.tensor([2, 3]))
    assert question.nearest.tolist() == [[2, 3, 0], [4, 2, 1]]
    assert [part.tolist() for part in question.repeated(2)][:2] == [[1, 1, 0, 0], [2, 2, 3, 3]]


def test_every_map_explains_its_score(net, x):
    """Literal Grad-CAM of each explainer's score; peers give its positive part, scaled and enlarged."""
    question = question_of(net, x)
    checked = set()
    for explainer in explainers(net, net.features, seed=0):
        # Grad-CAM++ has other weights, and one peer's weights of three references let the gradient through.
        if "++" in explainer.name or explainer.name in ("FinerCAM pytorch-grad-cam, its own 3", "random map"):
            continue
        activation = net.features(x).detach().requires_grad_()
        score = explainer.score(net.head(activation), question).sum()
        (gradient,) = torch.autograd.grad(score, activation)
        literal = (gradient.mean(dim=(2, 3), keepdim=True) * activation).sum(dim=1).detach()
        found = explainer.maps(x, question)
        if explainer.name.startswith("FinerCAM"):
            literal, found = upsample(literal.relu(), 9, 9), upsample(found, 9, 9)
            for a, b in zip(literal, found, strict=True):
                assert torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1] > 0.999, explainer.name
        else:
            torch.testing.assert_close(found, literal, msg=explainer.name)
        checked.add(explainer.name)
    assert {"LayerGradCam", PAIRWISE, "DiffGradCAM mean, every other class"} < checked


def test_plus_plus_is_asked_the_same(net, x):
    question = question_of(net, x)
    found = {explainer.name: explainer.maps(x, question) for explainer in explainers(net, net.features, 0)}
    cam = LayerDiffGradCamPlusPlus(net, net.features)
    targets = question.targets
    expected = {
        "Grad-CAM++": cam.attribute(x, targets, contrast=[]),
        "DiffGradCAM++, rival": torch.cat(
            [
                cam.attribute(x[i : i + 1], int(targets[i]), contrast=int(rival))
                for i, rival in enumerate(question.rivals)
            ]
        ),
        "DiffGradCAM++ max, every other class": cam.attribute(x, targets, reduction="max"),
    }
    for name, maps in expected.items():
        torch.testing.assert_close(found[name], maps[:, 0], msg=name)


@pytest.mark.parametrize("library", contenders.PEERS)
def test_peers_leave_the_model_as_it_was(net, x, library):
    pytest.importorskip(contenders.PEERS[library], exc_type=ImportError)
    (explainer,) = (e for e in explainers(net, net.features, 0) if e.name == f"FinerCAM {library}, rival")
    with torch.no_grad():
        before = net(x)
        explainer.maps(x, question_of(net, x))
        torch.testing.assert_close(net(x), before)
    assert all(parameter.grad is None for parameter in net.parameters())
    assert not any(module._forward_hooks for module in net.modules())


def test_the_decision_is_its_log_odds_and_margin(net, x):
    question, logits = question_of(net, x), net(x).detach()
    p = logits.double().softmax(dim=1)
    for row, (target, rival) in enumerate(zip(question.targets, question.rivals, strict=True)):
        odds, margin = log_odds_and_margin(logits, question)[row].tolist()
        assert odds == pytest.approx(float((p[row, target] / (1 - p[row, target])).log()), abs=1e-4)
        assert margin == pytest.approx(float(logits[row, target] - logits[row, rival]), abs=1e-5)


class Reused(nn.Module):
    """Its last feature map is put out by a module that runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3)
        self.relu, self.pool, self.head = nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Linear(5, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.pool(self.relu(self.second(self.relu(self.first(x))))).flatten(1))


def test_what_only_goes_into_a_module_is_put_out(x):
    model = Reused().eval()
    layer, before = choose_layer(model, x), model(x)
    expected = LayerDiffGradCam(model, layer.module).attribute(x, 1, attribute_to_layer_input=True)
    assert layer.name == "pool:input"
    found = LayerDiffGradCam(model, put_out(model, layer)).attribute(x, 1)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(model(x), before)
    named = conv_net()
    assert put_out(named, choose_layer(named, x, "features.1")) is named.features[1]


# What is made of the numbers


def sample(study: str, **numbers: list[float]) -> Sample:
    arrays = {name: np.asarray(values, dtype=float) for name, values in numbers.items()}
    return Sample.of(study, "some images", [(0, {"cluster": np.arange(len(next(iter(arrays.values())))), **arrays})], 0)


def located(gain: float) -> Sample:
    noise = np.random.default_rng(0).normal(size=40) / 100
    numbers = {
        f"{measure}|{method}": value
        for measure in ("AUROC", "AUROC rectified", "energy on A")
        for method, value in (("LayerGradCam", 0.5 + noise), (PAIRWISE, 0.5 + gain + noise * noise))
    }
    return sample("localization", **numbers)


def test_a_target_is_reached_where_the_interval_excludes_zero():
    for gain, reached in ((0.1, True), (-0.1, False), (0.0, False)):
        rows = targets([located(gain)])
        assert [row["figure"] for row in rows] == ["AUROC", "AUROC rectified", "energy on A"]
        assert [row["reached"] for row in rows] == [reached] * 3
        assert rows[0]["value"] == pytest.approx(gain, abs=0.01)


def test_deletion_and_agreement_have_targets():
    noise = np.random.default_rng(1).normal(size=40) / 100
    for gain, agreement, reached in ((-0.2, 0.97, [True, True]), (0.2, 0.9, [False, False])):
        numbers = {
            "deletion of margin|LayerGradCam": noise,
            f"deletion of margin|{PAIRWISE}": gain + noise * noise,
            "agreement with LayerGradCam|DiffGradCAM mean, every other class": agreement + noise / 10,
        }
        rows = targets([sample("decision", **numbers)])
        assert [(row["figure"], row["against"]) for row in rows] == [
            ("deletion of margin", "LayerGradCam"),
            ("median agreement", "LayerGradCam"),
        ]
        assert [row["reached"] for row in rows] == reached


def test_images_that_part_are_the_quarter_that_agrees_least():
    agreement, gain = np.linspace(0, 1, 40), np.where(np.arange(40) < 10, 0.3, 0.0)
    numbers = {
        f"agreement with LayerGradCam|{PAIRWISE}": agreement,
        "AUROC|LayerGradCam": np.full(40, 0.5),
        f"AUROC|{PAIRWISE}": 0.5 + gain,
    }
    least, others = parting([sample("localization", **numbers)])
    assert (least["images"], least["count"], others["count"]) == ("least alike", 10, 30)
    assert least["value"] == pytest.approx(0.3)
    assert others["value"] == pytest.approx(0.0)


def test_chunks_are_joined_in_their_order():
    parts = [
        (stratum, {"cluster": np.array([i, i + 1.0]), "m|a": np.array([stratum, i])})
        for stratum, i in itertools.product((0, 1), (0.0, 2.0))
    ]
    joined = Sample.of("decision", "x", [(int(s), n) for s, n in parts], 0)
    assert joined.numbers["m|a"].tolist() == [0, 0, 0, 2, 1, 0, 1, 2]
    assert joined.count == 8
    assert joined.methods("m") == ["a"]
