"""The tests of the field on classifiers whose maps are known, and beside other libraries' implementations."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks.__main__ import main
from benchmarks.common import peers
from benchmarks.common.cutouts import Material
from benchmarks.common.images import load_image, packaged_photographs
from benchmarks.common.models import load_classifier, mobilenet_weights
from benchmarks.common.names import GRAD_CAM, MOBILENET
from benchmarks.common.probability import PROBABILITY
from benchmarks.common.staged import Tail
from benchmarks.faithfulness.options import NATS, STUDIES
from benchmarks.faithfulness.sample import Sample
from benchmarks.faithfulness.studies import nats, networks, pictures, plan, removal, report, run
from benchmarks.faithfulness.studies.methods import (
    DEFAULT,
    HIRES,
    INPUT_IG,
    LAYER_IG,
    OCCLUSION,
    PLUS_PLUS,
    Method,
    Question,
    all_methods,
)
from benchmarks.faithfulness.studies.nats import CEILING, LINEAR, RELATIVE, hidden_regions
from benchmarks.faithfulness.studies.networks import Network
from benchmarks.faithfulness.studies.sanity import class_sensitivity, grid_pointing, randomisation

CLASSES = 4


def colour_network(flattened: bool = False) -> Network:
    """A position's features are the mean colours of its 4 x 4 pixels, and logits are linear in them."""
    stem = nn.AvgPool2d(4)
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        head = nn.Linear(3 * 49 if flattened else 3, CLASSES)
        head.weight.data.mul_(1 if flattened else 8)
    pooling = networks._Unshared() if flattened else nn.AdaptiveAvgPool2d(1)
    return Network("colours", stem, Tail(nn.Identity(), pooling, head).eval())


def smooth_images(count: int, side: int) -> Tensor:
    coarse = torch.rand(count, 3, side // 4, side // 4, generator=torch.Generator().manual_seed(2))
    return torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1)


def conv_network() -> Network:
    """Two convolutions whose windows overlap."""
    with torch.random.fork_rng([]):
        torch.manual_seed(1)
        stem = nn.Sequential(nn.Conv2d(3, 6, 5, 2, 2), nn.ReLU(), nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU())
        head = nn.Linear(8, CLASSES)
        # Logits differ between images, and are far from saturation.
        head.weight.data.mul_(100)
        head.bias.data = -head(stem(smooth_images(4, 28)).mean(dim=(0, 2, 3))).detach() + head.bias.data
    return Network("convolutions", stem.eval(), Tail(nn.Identity(), nn.AdaptiveAvgPool2d(1), head).eval())


class Grey(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.expand(-1, 3, -1, -1)


def question(network: Network, count: int = 4, side: int = 28) -> Question:
    images = smooth_images(count, side)
    features = network.features(images)
    return Question(images, features, network.tail(features).argmax(dim=1))


def by_name(network: Network, *names: str) -> list[Method]:
    methods = {method.name: method for method in all_methods(network, 0, peers=False)}
    return [methods[name] for name in names]


def holes(side: int = 28) -> Tensor:
    values = torch.rand(1, 1, 7, 7, generator=torch.Generator().manual_seed(3))
    return torch.nn.functional.interpolate(values, (side, side), mode="bilinear")[:, 0] > 0.5


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_imputation_solves_the_system_of_road():
    imputers = pytest.importorskip("pytorch_grad_cam.metrics.road")
    images, removed = question(colour_network()).images[:1], holes()
    expected = imputers.NoisyLinearImputer(noise=0)(images[0], (~removed[0]).float())
    filled = removal.imputed(images, removed)[0]
    assert (filled - expected).abs().max() < 0.01
    assert torch.equal(filled[:, ~removed[0]], images[0][:, ~removed[0]])
    noisy = removal.imputed(images, removed, torch.Generator().manual_seed(0))[0]
    assert (noisy - filled)[:, removed[0]].std().item() == pytest.approx(removal.NOISE, rel=0.1)
    assert torch.equal(noisy[:, ~removed[0]], images[0][:, ~removed[0]])


def test_imputation_at_the_border_is_that_of_quantus():
    functions = pytest.importorskip("quantus.functions.perturb_func")
    images, removed = question(colour_network()).images[:1], holes()
    removed[:, 0] = removed[:, :, 0] = removed[:, -1] = removed[:, :, -1] = False
    indices = removed[0].flatten().nonzero()[:, 0].numpy()
    with np.errstate(all="ignore"):
        expected = functions.noisy_linear_imputation(images[0].numpy().astype(np.float64), indices, noise=0)
    assert np.abs(removal.imputed(images, removed)[0].numpy() - expected).max() < 0.01


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_probability_after_road_is_that_of_pytorch_grad_cam(monkeypatch):
    road = pytest.importorskip("pytorch_grad_cam.metrics.road")
    targets = pytest.importorskip("pytorch_grad_cam.utils.model_targets")
    monkeypatch.setattr(road.NoisyLinearImputer.__init__, "__defaults__", (0, road.neighbors_weights))
    monkeypatch.setattr(removal, "NOISE", 0)
    network = conv_network()
    asked = question(network)
    (method,) = by_name(network, DEFAULT)
    found = removal.removal(network, [method], asked, seed=0)
    maps = removal.upsample(method.maps(asked), 28, 28)
    percentiles = [100 - 100 * share for share in removal.SHARES if share >= 0.1]
    expected = road.ROADMostRelevantFirstAverage(percentiles)(
        asked.images,
        maps.numpy(),
        [targets.ClassifierOutputSoftmaxTarget(target) for target in asked.targets.tolist()],
        network.whole,
    )
    # float32 of that library; quantiles fall between pixels.
    assert found[f"ROAD, change of the probability|{DEFAULT}"].numpy() == pytest.approx(expected, abs=0.01)
    assert np.abs(expected).max() > 0.05


def test_predictions_kept_after_road_are_those_of_quantus(monkeypatch):
    quantus = pytest.importorskip("quantus")
    monkeypatch.setattr(removal, "NOISE", 0)
    network = conv_network()
    # Its ROAD takes images with one channel.
    images = question(network, 20).images.mean(dim=1, keepdim=True)
    features = network.features(images.expand(-1, 3, -1, -1))
    asked = Question(images.expand(-1, 3, -1, -1), features, network.tail(features).argmax(dim=1))
    maps = removal.upsample(by_name(network, DEFAULT)[0].maps(asked), 28, 28)
    # The libraries differ at the border of the image, where Quantus has other neighbours.
    maps[:, 0] = maps[:, :, 0] = maps[:, -1] = maps[:, :, -1] = maps.min() - 1
    shares = [share for share in removal.SHARES if share >= 0.1]
    metric = quantus.ROAD(
        percentages=[100 * share for share in shares], noise=0, normalise=False, disable_warnings=True
    )
    expected = metric(
        model=nn.Sequential(Grey(), network.whole).eval(),
        x_batch=images.numpy(),
        y_batch=asked.targets.numpy(),
        a_batch=maps[:, None].detach().numpy(),
        device="cpu",
    )
    found = removal.removal(network, [fixed(maps)], asked, seed=0)["ROAD, kept|fixed"].mean()
    assert 0.1 < found < 0.99
    assert found.item() == pytest.approx(np.mean(list(expected.values())), abs=0.01)


def test_randomised_parameters_are_those_of_quantus():
    quantus = pytest.importorskip("quantus")
    from quantus.functions.similarity_func import correlation_pearson

    network = conv_network()
    asked = question(network)
    names = (GRAD_CAM, DEFAULT, PLUS_PLUS)
    found = randomisation(network, by_name(network, *names), asked, seed=5, peers=False)
    for name in names:

        def explain(model, inputs, targets, name=name, **_):
            stem, tail = model
            changed = Network("changed", stem, tail)
            images = torch.as_tensor(inputs)
            shown = Question(images, changed.features(images), torch.as_tensor(targets))
            maps = by_name(changed, name)[0].maps(shown)[:, None]
            # Quantus wants the size of the images, and no map without a positive value.
            return 5 + torch.nn.functional.interpolate(maps, scale_factor=4, mode="nearest").numpy()

        metric = quantus.MPRT(
            similarity_func=correlation_pearson,
            layer_order="top_down",
            seed=5,
            normalise=False,
            disable_warnings=True,
        )
        expected = metric(
            model=network.whole,
            x_batch=asked.images.numpy(),
            y_batch=asked.targets.numpy(),
            explain_func=explain,
            device="cpu",
        )
        stages = list(expected.values())[1:]
        for stage, layers in (("head", 1), ("half", 2), ("all", 3)):
            assert found[f"{stage}|{name}"].numpy() == pytest.approx(stages[layers - 1], abs=0.01), (name, stage)
    assert found[f"head|{GRAD_CAM}"].abs().max() < 0.999


def test_the_classifier_that_was_randomised_is_as_before():
    network = conv_network()
    before = [value.clone() for value in network.whole.state_dict().values()]
    state = torch.get_rng_state()
    randomisation(network, by_name(network, DEFAULT), question(network), seed=0, peers=False)
    assert all(map(torch.equal, before, network.whole.state_dict().values()))
    assert torch.equal(state, torch.get_rng_state())


def fixed(maps: Tensor) -> Method:
    return Method("fixed", lambda q: maps[: len(q.targets)])


def test_the_share_of_the_positive_map_in_the_tile():
    network = colour_network()
    tiles = [torch.full((3, 14, 14), value) for value in (0.1, 0.2, 0.3, 0.4)]
    image = pictures.mosaic(tiles)
    # Tiles are laid row by row.
    assert [image[0, 0, 0], image[0, 0, -1], image[0, -1, 0], image[0, -1, -1]] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    masks = pictures.tile_masks(2, 28)
    assert [round(float(image[0][mask].mean()), 3) for mask in masks] == [0.1, 0.2, 0.3, 0.4]
    maps = torch.full((4, 28, 28), -5.0)
    maps[0] = 1.0
    maps[1][masks[1]] = 2.0
    maps[2][masks[1]], maps[2][masks[2]] = 3.0, 1.0
    asked = Question(image.expand(4, -1, -1, -1), torch.zeros(4, 3, 7, 7), torch.tensor([0, 1, 2, 3]))
    found = grid_pointing([fixed(maps)], asked, 2)["GridPG|fixed"]
    assert found.tolist() == pytest.approx([0.25, 1, 0.25, 0])
    slow = Method("slow", lambda q: maps[: len(q.targets)], slow=True)
    assert grid_pointing([slow], asked, 2)["GridPG|slow"].isnan().tolist() == [False, True, True, True]
    assert grid_pointing(by_name(network, DEFAULT), asked._replace(features=network.features(asked.images)), 2)


def test_mosaics_have_different_classes_and_use_pictures_equally_often():
    classes = torch.tensor([0, 0, 0, 1, 2, 3, 4, 5, 6, 7])
    drawn = pictures.draw_mosaics(classes, 20, 4, seed=1)
    assert all(len({int(classes[picture]) for picture in tiles}) == len(tiles) == 4 for tiles in drawn)
    counts = np.bincount([picture for tiles in drawn for picture in tiles], minlength=len(classes))
    assert counts.sum() == 80
    assert counts.min() >= 6
    assert pictures.draw_mosaics(classes, 20, 4, seed=1) == drawn != pictures.draw_mosaics(classes, 20, 4, seed=2)
    with pytest.raises(ValueError, match="classes"):
        pictures.draw_mosaics(torch.tensor([0, 0, 1]), 1, 3, 0)


def test_maps_that_depend_on_the_class():
    network = colour_network()
    asked = question(network)
    logits = network.tail(asked.features)
    same = Method("same", lambda q: q.features[:, 0])
    opposite = Method(
        "opposite", lambda q: q.features[:, 0] * (1 - 2 * (q.targets == logits.argmax(1)).float())[:, None, None]
    )
    found = class_sensitivity([same, opposite, *by_name(network, f"{DEFAULT}")], asked, logits, seed=0)
    for measure in ("second class", "random class"):
        assert found[f"{measure}|same"].tolist() == pytest.approx([1] * 4)
        assert found[f"{measure}|opposite"].tolist() == pytest.approx([-1] * 4)
    assert (found[f"second class|{DEFAULT}"] < 0.999).all()


def test_the_relative_confidence_drop():
    network = colour_network()
    asked = question(network, 1)
    found = removal.removal(network, [fixed(torch.arange(784.0).reshape(1, 28, 28))], asked, seed=0)
    # The last rows have the highest values.
    left = asked.images.clone()
    count = round(784 * 0.05)
    colour = asked.images.mean(dim=(2, 3))[:, :, None]
    left.flatten(2)[:, :, -count:] = colour
    before, after = (network.whole(images).softmax(dim=1)[0].detach() for images in (asked.images, left))
    target, rival = before.topk(2).indices
    expected = (before[target] - after[target]) - (before[rival] - after[rival])
    assert found["relative confidence drop at 0.05|fixed"].item() == pytest.approx(expected.item(), abs=1e-6)


@pytest.mark.parametrize("flattened", [False, True])
def test_a_classifier_that_is_linear_keeps_what_the_map_promises(flattened):
    network = colour_network(flattened)
    asked = question(network, 6)
    ours = [f"{HIRES} {reduction}, every other class" for reduction in ("mean", "max", "logsumexp")]
    mean, averaged = ours[0], "DiffGradCAM mean, every other class"
    names = (*ours, averaged, GRAD_CAM, PLUS_PLUS, LAYER_IG, PROBABILITY)
    found = {key: value.numpy() for key, value in hidden_regions(network, by_name(network, *names), asked).items()}
    for name in (*ours, *([] if flattened else [GRAD_CAM, averaged])):
        assert found[f"completeness|{name}"].max() < 1e-4, name
    if flattened:
        assert found[f"completeness|{GRAD_CAM}"].max() > 0.1
    assert found[f"completeness|{LAYER_IG}"].max() < 0.01
    assert found[f"completeness|{PLUS_PLUS}"].min() > 0.1
    sample = Sample.of(NATS, "colours, images", [(0, {"cluster": np.arange(6), **found})], 0)
    rows = {
        (row["measure"], row["method"]): row["value"]
        for row in report.estimates(NATS, [sample])
        if row.get("size", 3) == 3
        and row.get("fill", "blurred") == "blurred"
        and row.get("score", "own score") == "own score"
    }
    # Hidden features are other features, not zeros, so the slope is 1 for what changes and less for what stays.
    assert rows["correlation", CEILING] == pytest.approx(1, abs=0.02)
    assert rows["slope", CEILING] == pytest.approx(1, abs=0.02)
    assert rows["correlation", LINEAR] > 0.95
    # Without biases behind it, a blank image is where the features of hidden pixels are.
    assert rows["correlation", RELATIVE] >= rows["correlation", f"{HIRES} logsumexp, every other class"]
    assert -1 <= rows["correlation", mean] <= 1
    (halves,) = [
        row
        for row in report.estimates(NATS, [sample])
        if row["method"] == nats.HALVES and row["measure"] == "correlation"
    ]
    # Pixels of one half do not change features of the other, so the falls nearly add up.
    assert halves["value"] > 0.98


def test_slope_and_correlation_of_totals():
    rng = np.random.default_rng(0)
    x, noise = rng.normal(size=(2, 50, 9))
    f = 0.7 * x + 0.2 * noise
    sums = np.stack([np.full(50, 9.0), *(v.sum(axis=1) for v in (x, f, x * x, f * f, x * f))], axis=1)
    total = sums.sum(axis=0)
    assert report.slope(total) == pytest.approx(np.linalg.lstsq(x.reshape(-1, 1), f.ravel())[0][0])
    assert report.pooled_correlation(total) == pytest.approx(np.corrcoef(x.ravel(), f.ravel())[0, 1])
    sample = Sample.of(NATS, "x", [(0, {"cluster": np.arange(50)})], 0)
    estimate = sample.bootstrap.of_totals(sums, report.slope)
    assert estimate.lower < estimate.value < estimate.upper
    assert estimate.upper - estimate.lower == pytest.approx(2 * 1.96 * 0.2 / np.sqrt(450), rel=0.3)
    sums[0] = np.nan
    assert sample.bootstrap.of_totals(sums, report.slope).value == pytest.approx(report.slope(sums[1:].sum(axis=0)))


def test_the_halves_of_a_hidden_region():
    pixels = torch.zeros(2, 8, 8, dtype=torch.bool)
    pixels[0, 2:6, 1:3] = pixels[1, 4:8, 4:8] = True
    upper, lower = nats._halves(pixels)
    assert upper[0].nonzero().tolist() == [[2, 1], [2, 2], [3, 1], [3, 2]]
    assert not (upper & lower).any()
    assert torch.equal(upper | lower, pixels)
    assert lower[1].sum() == 8


def tiny_subject() -> plan.Subject:
    """Pictures of colours for the convolutions, whose classes differ."""
    images = smooth_images(60, 28)
    shown = pictures.Pictures("colours", 60, images.__getitem__, lambda index: images[index][:, :14, :14], 60)
    return plan.Subject("convolutions", conv_network, (shown,), (2, 3))


@pytest.fixture
def tiny(monkeypatch):
    """Runs the benchmark on one small classifier. Returns the exit code, the records by study, and their folder."""
    sizes = plan.Sizes({2: 3}, dict.fromkeys(STUDIES, 5), dict.fromkeys(STUDIES, 1))
    monkeypatch.setattr(run, "QUICK", sizes)
    monkeypatch.setattr(run, "_subjects", lambda args, work: [tiny_subject()])
    monkeypatch.setattr(peers, "PEERS", {})
    monkeypatch.setattr(plan, "CONFIDENT", 0.25)

    def go(folder, *options):
        code = main(["faithfulness", "--quick", "--output", str(folder), *options])
        written = {study: folder / f"{study}.json" for study in STUDIES}
        return code, {name: json.loads(file.read_text()) for name, file in written.items() if file.exists()}

    return go


def test_each_study_has_a_record_a_table_and_a_figure(tiny, tmp_path, capsys):
    code, records = tiny(tmp_path, "--studies", *STUDIES)
    assert code == 0
    assert list(records) == list(STUDIES)
    for study, record in records.items():
        assert (record["study"], record["complete"], record["seed"]) == (study, False, 0)
        assert "commit" in record
        kind = "2 x 2 mosaics" if study == "gridpg" else "colours"
        (subject,) = record["subjects"]
        assert subject["subject"] == f"convolutions, {kind}"
        rows = {(row["measure"], row["method"]): row for row in record["estimates"]}
        count = 12 if study == "gridpg" else 5
        assert {row["count"] for row in record["estimates"] if row["method"] == DEFAULT} == {count}
        if study != NATS:
            measure = report.HEADLINE[study]
            # Slow methods explain one image, or the first target of one mosaic.
            assert rows[measure, OCCLUSION]["count"] == rows[measure, INPUT_IG]["count"] == 1
            difference = rows[measure, DEFAULT]["minus"][GRAD_CAM]["value"]
            expected = rows[measure, DEFAULT]["value"] - rows[measure, GRAD_CAM]["value"]
            assert difference == pytest.approx(expected, abs=1e-5)
        assert (tmp_path / f"{study}.csv").stat().st_size > 0
    assert (tmp_path / run.FIGURE).stat().st_size > 0
    assert {row["figure"] for row in records[NATS]["targets"]} >= {"slope of the default", "largest completeness error"}
    assert "quick run" in capsys.readouterr().out


def test_one_study_alone_and_resumed(tiny, tmp_path, monkeypatch):
    measured, original = [], run.measure

    def measure(piece, *args, **keywords):
        measured.append(piece.key)
        if len(measured) == 2:
            raise KeyboardInterrupt
        return original(piece, *args, **keywords)

    monkeypatch.setattr(run, "measure", measure)
    assert tiny(tmp_path / "a", "--studies", "classes")[0] == 130
    code, records = tiny(tmp_path / "a", "--studies", "classes", "--resume")
    assert (code, list(records)) == (0, ["classes"])
    # The second was begun twice.
    assert sorted([*set(measured), measured[1]]) == sorted(measured)
    _, others = tiny(tmp_path / "b", "--studies", "classes")
    assert others["classes"]["estimates"] == records["classes"]["estimates"]


def test_the_users_model_takes_part_in_the_comparison_alone(tmp_path, capsys):
    options = ["--model", "resnet18", "--studies", "gridpg", "--output", str(tmp_path)]
    assert main(["faithfulness", *options]) == 2
    assert "--studies" in capsys.readouterr().err


def test_what_is_confident_is_shown_in_mosaics_and_photographs_always():
    recognised = {"classes": torch.arange(8) % 5, "confidence": torch.tensor([0.9] * 6 + [0.1] * 2)}
    blank = pictures.Pictures(pictures.PHOTOGRAPHS, 8, lambda index: None, lambda index: None, 8)
    subject = plan.Subject("x", conv_network, (blank,), (2,))
    sizes = plan.Sizes({2: 4}, dict.fromkeys(STUDIES, 8), dict.fromkeys(STUDIES, 2))
    pieces = list(plan.pieces(subject, recognised, ("gridpg", "classes"), sizes, 0))
    mosaics = [piece.pictures[0] for piece in pieces if piece.study == "gridpg"]
    assert {index for tiles in mosaics for index in tiles} <= set(range(6))
    assert sorted(index for piece in pieces if piece.study == "classes" for (index,) in piece.pictures) == list(
        range(8)
    )
    assert [piece.slow for piece in pieces if piece.study == "gridpg"] == [True, True, False, False]
    assert len({piece.key for piece in pieces}) == len(pieces)


def test_too_few_recognised_classes_for_a_mosaic():
    recognised = {"classes": torch.arange(8) % 3, "confidence": torch.full((8,), 0.9)}
    blank = pictures.Pictures("blank", 8, lambda index: None, lambda index: None, 8)
    subject = plan.Subject("x", conv_network, (blank,), (2,))
    assert not list(plan.pieces(subject, recognised, ("gridpg",), plan.QUICK, 0))
    assert list(plan.pieces(subject, recognised | {"classes": torch.arange(8)}, ("gridpg",), plan.QUICK, 0))


def test_pictures_of_one_thing_are_resampled_together():
    shown = pictures.Pictures("blank", 6, lambda index: None, lambda index: None, 3)
    subject = plan.Subject("x", conv_network, (shown, shown), (2,))
    assert [plan._picture(subject, index)[2] for index in (0, 3, 5, 6, 9, 11)] == [0, 0, 2, 3, 3, 5]


def test_the_vit_is_cut_after_its_tokens():
    model = networks.small_network(networks.VIT, seed=3)
    images = torch.rand(2, 3, 56, 56, generator=torch.Generator().manual_seed(0))
    cut = networks.cut_small(networks.VIT, model)
    with torch.no_grad():
        assert cut.features(images).shape == (2, 64, 7, 7)
        assert (cut.whole(images) - model(images)).abs().max() < 1e-5
        assert torch.equal(cut.features(images)[0, :, 0, 1], model.features(images)[0, 2])


def test_mobilenet_is_cut_before_its_pooling():
    if mobilenet_weights() is None:
        pytest.skip("the package with MobileNetV2's weights is not installed")
    network = networks.real_network(MOBILENET, torch.device("cpu"))
    classifier = load_classifier(MOBILENET, None, torch.device("cpu"))
    image = load_image(packaged_photographs()[1])
    images = pictures.photographs(Material((), ())).image(1)[None]
    assert classifier.classes[int(network.whole(images).argmax())] == "espresso"
    assert classifier.classes[int(classifier.model(classifier.preprocess(image)[None]).argmax())] == "espresso"
