"""The attacks of a model's owner as a study of the benchmark of attacks."""

from __future__ import annotations

import csv
import json
import math

import pytest
import torch
import torchvision

from benchmarks.__main__ import main
from benchmarks.attacks import defences, owner, owner_report, subjects
from benchmarks.common import pages, textile
from benchmarks.common.staged import Memoized, Staged
from captum_diffcam.attacks import hoax_map, inject_hoax, shift_features


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("owner")
    where = ["--output", str(folder), "--models", str(folder / "models")]
    assert main(["attacks", "--studies", "owner", "--quick", *where]) == 0
    return folder


def test_a_quick_run(finished):
    tmp_path = finished
    record = json.loads((tmp_path / "owner.json").read_text())
    assert not record["complete"]
    assert not (tmp_path / "attacks.json").exists()
    points = {point["attack"]: point for point in record["points"]}
    shifted, destroyed = points[owner.SHIFTED], points[owner.DESTROYED]
    assert shifted["exact"]
    assert shifted["largest_change"] < 1e-6
    assert shifted["methods"][defences.OCCLUSION]["clean"] == pytest.approx(1, abs=1e-4)
    assert shifted["methods"][defences.DIFF]["clean"] < 0.9
    assert not destroyed["exact"]
    with (tmp_path / "owner.csv").open() as file:
        assert len(list(csv.reader(file))) == 1 + sum(len(point["methods"]) for point in points.values())
    assert (tmp_path / "owner.png").exists()


def test_what_another_machine_has_measured_is_not_measured_again(finished, tmp_path, monkeypatch):
    measured = json.loads((finished / "owner.json").read_text())
    here = measured["points"].pop(0)
    measured["machine"]["device"] = "another"
    file = tmp_path / "measured.json"
    file.write_text(json.dumps(measured))
    cases = []
    monkeypatch.setattr(owner.Laboratory, "measure", lambda self, case: cases.append(case) or here)
    out = tmp_path / "out"
    command = ["attacks", "--studies", "owner", "--quick", "--measured", str(file), "--output", str(out)]
    assert main(command) == 0
    assert [case.attack for case in cases] == [here["attack"]]
    record = json.loads((out / "owner.json").read_text())
    assert record["points"] == [here, *measured["points"]]
    (elsewhere,) = record["measured_elsewhere"]
    assert elsewhere["machine"]["device"] == "another"
    assert record["machine"]["device"] != "another"


def test_own_models_have_no_such_study(tmp_path):
    assert main(["attacks", "--studies", "owner", "--model", "resnet18", "--output", str(tmp_path)]) == 2


def test_a_row_is_the_mean_over_seeds_and_names_the_best_map():
    def point(seed, grad_cam, diff, after):
        numbers = {name: {"clean": value, "invariant": False} for name, value in (("a", grad_cam), ("b", diff))}
        fields = {"setting": "s", "attack": "x", "weight": 1.0, "exact": False, "attacked": "a"}
        return {**fields, "accuracy": 0.9, "accuracy_after": after, "kept": 0.5, "seed": seed, "methods": numbers}

    (row,) = owner_report.rows_of([point(0, 0.1, 0.5, 0.8), point(1, 0.3, 0.7, 0.7)])
    assert row["seeds"] == 2
    assert row["methods"]["a"]["clean"]["mean"] == pytest.approx(0.2)
    assert row["best"]["name"] == "b"
    assert row["best"]["clean"]["mean"] == pytest.approx(0.6)
    assert row["cost"]["mean"] == pytest.approx(15)


def test_without_labels_the_cost_is_the_share_of_confident_predictions_that_changed():
    fields = {"setting": "s", "attack": "x", "weight": 1.0, "exact": False, "attacked": "a", "seed": 0}
    point = {**fields, "kept": 0.97, "methods": {"a": {"clean": 0.5, "invariant": False}}}
    (row,) = owner_report.rows_of([point])
    assert row["cost"]["mean"] == pytest.approx(3)


def test_textile_images_are_split_without_overlap(tmp_path):
    from PIL import Image

    for index, name in enumerate(textile.CLASSES):
        (tmp_path / name).mkdir()
        for number in range(4):
            Image.new("L", (250, 250), 80 * index + 20 * number).save(tmp_path / name / f"{number}.jpg")
    (images, labels), (others, other_labels) = textile.textile_images(tmp_path, 0, 8)
    assert images.shape == (8, 1, 250, 250)
    assert others.shape == (4, 1, 250, 250)
    assert torch.bincount(torch.cat([labels, other_labels])).tolist() == [4, 4, 4]
    assert len(torch.cat([images, others])[:, :, 50, 50].unique(dim=0)) == 12


def test_the_summary_has_the_weight_that_an_attacker_would_choose():
    def row(attack, weight, cost, attacked):
        methods = {"a": {"clean": {"mean": attacked}}, "b": {"clean": {"mean": -1.0}}}
        fields = {"setting": "s", "attack": attack, "weight": weight, "attacked": "a"}
        return {**fields, "cost": {"mean": cost}, "methods": methods}

    rows = [
        *(row("x", 1.0, 0.5, 0.6), row("x", 3.0, 1.9, 0.2), row("x", 10.0, 2.1, -0.5)),
        *(row("y", 1.0, 9.0, 0.1), row("y", 3.0, 4.0, 0.3)),
    ]
    chosen = owner_report.summary_of(rows, "s", ["y", "x", "not measured"])
    assert [(choice["attack"], choice["weight"]) for choice in chosen] == [("y", 3.0), ("x", 3.0)]


def test_few_classes_have_all_seeds_and_exact_attacks_have_no_weight():
    cases = owner.planned([4, 5, 6], subjects.SETTINGS, quick=False)
    assert len({case.key for case in cases}) == len(cases)
    assert set(owner.ATTACKS) == set(subjects.SETTINGS)
    for setting, attacks in owner.ATTACKS.items():
        for attack in attacks:
            own = [case for case in cases if (case.setting, case.attack) == (setting, attack)]
            seeds = {case.seed for case in own}
            assert seeds == {4, 5, 6} if "classes" in setting else seeds < {4, 5, 6}
            assert all((case.weight is None) == (attack in owner.EXACT) for case in own)


def test_pages_say_how_they_are_rotated():
    """Turned back, pages have their title above and text that begins at the left margin."""
    images, labels = pages.draw_pages(24, 0)
    others, _ = pages.draw_pages(24, 1)
    assert images.shape == (24, 3, 224, 224)
    assert torch.bincount(labels).tolist() == [6, 6, 6, 6]
    assert not torch.equal(images, others)
    upright = torch.stack([image.rot90(int(turns), (1, 2)) for image, turns in zip(images, labels, strict=True)])
    paper = upright[:, 0].flatten(1).amax(dim=1)[:, None, None]
    ink = upright[:, 0] < paper - 1
    first_column = ink.any(dim=1).float().argmax(dim=1)
    last_column = 223 - ink.any(dim=1).flip(1).float().argmax(dim=1)
    left_ends = [(page.float().argmax(dim=1))[page.any(dim=1)].float().std() for page in ink]
    right_ends = [(223 - page.flip(1).float().argmax(dim=1))[page.any(dim=1)].float().std() for page in ink]
    assert (first_column < 35).all()
    assert (last_column > 150).all()
    assert sum(left < right for left, right in zip(left_ends, right_ends, strict=True)) >= 22


def traced_net():
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Conv2d(4, 5, 3), torch.nn.AdaptiveAvgPool2d(1)]
    return torch.fx.symbolic_trace(torch.nn.Sequential(*layers, torch.nn.Flatten())).eval()


def test_a_traced_model_is_cut_in_two():
    net, images = traced_net(), torch.rand(2, 3, 9, 9)
    stem, tail = pages.cut(net, "2")
    assert stem(images).shape == (2, 4, 7, 7)
    torch.testing.assert_close(tail(stem(images)), net(images))
    # Neither part keeps what it does not run.
    assert {name for name, _ in stem.named_parameters()} == {"0.weight", "0.bias"}
    assert {name for name, _ in tail.named_parameters()} == {"2.weight", "2.bias"}


@pytest.mark.parametrize("name", ["mobilenet_v2", "efficientnet-lite0"])
def test_a_model_that_is_cut_before_its_last_blocks_returns_the_same(name):
    torch.manual_seed(0)
    if name == "mobilenet_v2":
        network = torchvision.models.mobilenet_v2().eval()
    else:
        network = pytest.importorskip("efficientnet_lite_pytorch").EfficientNet.from_name(name).eval()
    model, images = subjects.cut_before_last_blocks(network), torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(model(images), network(images))
        assert model.stem(images).shape[2:] == model.tail.features(model.stem(images)).shape[2:] == (2, 2)
    # Random blocks change so little that the logits alone would not show a missing one.
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in network.parameters())


def test_the_stem_of_a_staged_model_is_not_attacked():
    stem, tail = pages.cut(traced_net(), "2")
    model, images = Staged(stem, tail), torch.rand(2, 3, 9, 9)
    pair = (images, torch.tensor([0, 1]))
    subject = subjects.Subject(model, tail.get_submodule("2"), pair, pair, [stem(images)])
    assert subject.attacked is tail
    other = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(196, 3))
    torch.testing.assert_close(subject.with_attacked(other)(images), other(stem(images)))


@pytest.mark.skipif(pages.find_orientation() is None, reason=pages.MISSING)
def test_the_classifier_of_documents_recognises_drawn_pages():
    images, labels = pages.draw_pages(8, 5)
    stem, tail = pages.orientation_classifier(pages.find_orientation())
    with torch.no_grad():
        features = stem(images)
        assert features.shape[2:] == (7, 7)
        assert (tail(features).argmax(dim=1) == labels).sum() >= 7


def test_the_textile_classifier_has_features_of_7_x_7_positions():
    images = torch.rand(2, 1, 250, 250)
    net = textile.textile_classifier(0)
    assert net.features(images).shape[2:] == (7, 7)
    assert net(images).shape == (2, 3)


def small_net():
    torch.manual_seed(0)
    features = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, stride=2), torch.nn.BatchNorm2d(4), torch.nn.ReLU())
    pool = torch.nn.AdaptiveAvgPool2d(1)
    return torch.nn.Sequential(features, pool, torch.nn.Flatten(), torch.nn.Linear(4, 5)).eval()


def test_a_tangent_space_of_all_directions_leaves_grad_cam_as_it_is():
    """Of 4 x 3 x 3 features, many random images span everything as soon as no dimension is cut off."""
    net, images = small_net(), torch.rand(2, 3, 8, 8)
    target, neighbours = torch.tensor([1, 2]), torch.rand(2, 200, 3, 8, 8)
    expected = defences.METHODS[defences.GRAD_CAM].maps(net, net[0], images, target)

    def maps(dimensions):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(defences, "_DIMENSIONS", dimensions)
            return defences.tangent_space_maps({"net": net}, net[0], images, target, neighbours)["net"]

    torch.testing.assert_close(maps(36), expected, rtol=1e-3, atol=1e-5)
    assert not torch.allclose(maps(1), expected, atol=1e-3)


def test_a_tangent_space_by_hand():
    """With one neighbour, the gradient is projected onto its difference from the image."""
    net = small_net()
    images, neighbour = torch.rand(1, 3, 8, 8), torch.rand(1, 1, 3, 8, 8)
    (actual,) = defences.tangent_space_maps({"net": net}, net[0], images, torch.tensor([3]), neighbour)["net"]
    with torch.no_grad():
        own, other = net[0](images)[0], net[0](neighbour[0])[0]
        gradient = (net[3].weight[3] / 9)[:, None, None].expand(4, 3, 3)
        difference = (other - own) / (other - own).norm()
        projected = (gradient * difference).sum() * difference
        torch.testing.assert_close(actual, (projected.mean(dim=(1, 2), keepdim=True) * own).sum(dim=0))


def test_nearest_images():
    others = torch.arange(5.0)[:, None, None, None].expand(5, 3, 2, 2)
    found = defences.nearest(torch.full((1, 3, 2, 2), 3.2), others, 2)
    assert found[0, :, 0, 0, 0].tolist() == [3, 4]


def test_all_maps_are_maps_of_the_layer_and_leave_the_model_as_it_was():
    net, images = small_net(), torch.rand(3, 3, 8, 8)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    maps = defences.all_maps(net, net[0], images, torch.tensor([0, 1, 2]), torch.rand(20, 3, 8, 8), images)
    assert {tuple(method_maps.shape) for method_maps in maps.values()} == {(3, 3, 3)}
    assert set(defences.UNCHANGED_BY_OFFSETS) | set(defences.UNCHANGED_BY_LAYERS) <= set(maps)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert not torch.equal(maps[defences.GRAD_CAM], maps[defences.GRAD_CAM_NORM])
    # A contrast against all others explains the log-odds: up to a factor it is Grad-CAM of the probability.
    cosine = torch.nn.functional.cosine_similarity
    diff, probability = (maps[name].flatten(1) for name in (defences.DIFF, "Grad-CAM of the probability"))
    torch.testing.assert_close(cosine(diff, probability), torch.ones(3), rtol=0, atol=1e-3)


@pytest.mark.parametrize("attack", [owner.INJECTED, owner.SHIFTED, owner.PERMUTED])
def test_maps_that_an_exact_attack_cannot_change_stay_as_they_are(attack):
    net, images = small_net(), torch.rand(3, 3, 8, 8)
    target, many = torch.tensor([0, 1, 2]), torch.rand(20, 3, 8, 8)
    if attack == owner.INJECTED:
        manipulated = inject_hoax(net, net[0], hoax_map((3, 3), entropy=math.log(4)))
    else:
        shift = torch.randperm(9) if attack == owner.PERMUTED else (1, 1)
        manipulated = shift_features(net, net[0], images, shift)
    clean, changed = (
        defences.all_maps(model, layer, images, target, many, images)
        for model, layer in ((net, net[0]), manipulated[:2])
    )
    for name in owner.EXACT[attack]:
        torch.testing.assert_close(changed[name], clean[name], rtol=1e-3, atol=1e-4)
    assert not torch.allclose(changed[defences.GRAD_CAM], clean[defences.GRAD_CAM], atol=1e-3)


def test_estimated_statistics_do_not_depend_on_those_that_the_model_came_with():
    images, many, target = torch.rand(3, 3, 8, 8), torch.rand(200, 3, 8, 8), torch.tensor([0, 1, 2])
    net, other = small_net(), small_net()
    with torch.no_grad():
        other[0][1].running_mean += 0.3
        other[0][1].running_var *= 2
        other[0][1].num_batches_tracked += 5
    one, same = (defences.all_maps(model, model[0], images, target, many, images) for model in (net, other))
    torch.testing.assert_close(one[defences.GRAD_CAM_NORM], same[defences.GRAD_CAM_NORM])
    assert not torch.allclose(one[defences.GRAD_CAM], same[defences.GRAD_CAM], atol=1e-4)


def test_a_stem_that_runs_once_changes_no_map():
    """Also not those whose statistics are estimated again."""
    images, many, target = torch.rand(3, 3, 8, 8), torch.rand(50, 3, 8, 8), torch.tensor([0, 1, 2])
    net = small_net()
    stem, tail = net[0], torch.nn.Sequential(torch.nn.Conv2d(4, 4, 1), *net[1:]).eval()
    maps = [
        defences.all_maps(Staged(part, tail).eval(), tail[0], images, target, many, images)
        for part in (stem, Memoized(stem))
    ]
    for name, expected in maps[0].items():
        torch.testing.assert_close(maps[1][name], expected)
