"""The comparison as a command, run in this process on small inputs."""

from __future__ import annotations

import json
import pickle
import re
from contextlib import nullcontext
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision
from captum.attr import LayerGradCam
from PIL import Image
from small_models import SMALL
from torch import nn

from benchmarks.common import pieces
from benchmarks.common.distributed import Ranks
from benchmarks.common.images import load_image, packaged_photographs
from benchmarks.common.models import load_classifier
from benchmarks.compare import figure, run
from benchmarks.compare.figure import draw_figures, page_files
from captum_diffcam import LayerDiffGradCam
from captum_diffcam.figures import overlay

CHELSEA, COFFEE = packaged_photographs()[:2]
FEW_METHODS = ("--contrast", "top:2", "--reduction", "mean")
"""Options for tests that are not about methods."""


@pytest.fixture
def small_weights(small_model, tmp_path):
    torch.save(small_model.state_dict(), tmp_path / "small.pth")
    return tmp_path / "small.pth"


def one_line_error(code, printed):
    assert code == 2
    *before, line = printed.err.splitlines()
    assert line.startswith("error: ")
    # Before it there may be the progress bar, and warnings of images that were skipped.
    assert all(other.startswith("warning: ") or "photograph" in other or not other.strip() for other in before)
    return line


def test_what_is_written(compare, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "draw_figures", draw_figures)
    code, record, printed = compare("compare", "--model", SMALL, "--images", CHELSEA, COFFEE, "--seed", 5)
    assert code == 0
    assert record["complete"]
    assert record["skipped"] == []
    assert record["seed"] == 5
    assert record["command"].startswith(f"python -m benchmarks compare --model {SMALL} --images ")
    assert record["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert record["machine"]["cores"] >= 1
    assert len(record["methods"]) == 13
    assert "warning: shufflenet_v2_x0_5 has random weights" in printed.err
    # Paths belong to the command as it was given, and to nothing else.
    assert str(tmp_path) not in json.dumps({**record, "command": ""})
    for name in ("maps.png", "maps-plus-plus.png", "pairwise.png"):
        with Image.open(tmp_path / "out" / name) as figure:
            assert min(figure.size) > 300
            assert np.asarray(figure.convert("L")).std() > 10


def test_the_published_comparison_has_two_models(compare, monkeypatch):
    monkeypatch.setattr(run, "packaged_photographs", lambda: [CHELSEA])
    monkeypatch.setattr(run, "LITE0", SMALL)
    monkeypatch.setattr(run, "MOBILENET", SMALL)
    for weights, further in ((None, 0), (CHELSEA, 1)):
        monkeypatch.setattr(run, "mobilenet_weights", lambda weights=weights: weights)
        code, record, _ = compare("compare", "--overwrite")
        assert code == 0
        assert len(record["further_models"]) == further
    (other,) = record["further_models"]
    assert other["photographs"][0]["photograph"] == "chelsea.png"
    names = [method["name"] for method in other["methods"]]
    assert names == [method["name"] for method in record["methods"]]
    assert {"Grad-CAM of the probability", "Grad-CAM of its logarithm"} < set(names)


def without_times(record):
    for photograph in record["photographs"]:
        for method in photograph["methods"].values():
            del method["milliseconds"], method["time_ratio"]
    return record["photographs"]


def test_each_photograph_is_written_by_itself(compare, tmp_path):
    other = tmp_path / "other" / "chelsea.jpg"
    other.parent.mkdir()
    Image.open(COFFEE).save(other)
    code, record, _ = compare("--model", SMALL, "--images", CHELSEA, other, "--target", 6)
    assert code == 0
    folder = tmp_path / "out" / "photographs"
    assert sorted(file.name for file in folder.iterdir()) == sorted(
        f"{i}-chelsea.{kind}" for i in (1, 2) for kind in ("npz", "png")
    )
    classifier = load_classifier(SMALL, None, torch.device("cpu"))
    for i, photograph in enumerate((CHELSEA, other), start=1):
        numbers = record["photographs"][i - 1]
        kept = np.load(folder / f"{i}-chelsea.npz")
        inputs = classifier.preprocess(load_image(photograph))[None]
        assert kept["method"] == "DiffGradCAM logsumexp, every other class"
        assert kept["target"] == 6
        assert kept["rivals"].tolist() == [rival["class"] for rival in numbers["rivals"]]
        assert kept["names"].tolist() == [numbers["target"]["name"], *(rival["name"] for rival in numbers["rivals"])]
        assert kept["pairwise"].shape == (5, *kept["map"].shape)
        drawn = overlay(classifier.as_seen(inputs[0]).permute(2, 0, 1)[None], torch.tensor(kept["map"])[None, None])
        with Image.open(folder / f"{i}-chelsea.png") as shown:
            np.testing.assert_allclose(np.asarray(shown) / 255, drawn[0], atol=3e-3)


def test_all_photographs_are_drawn_over_several_pages(compare, monkeypatch):
    pages = []

    def draw(folder, task, drawn, before, of):
        pages.append(([explanation.numbers["photograph"] for explanation in drawn], before, of))
        return page_files(before)

    monkeypatch.setattr(run, "draw_figures", draw)
    for module in (run, figure):
        monkeypatch.setattr(module, "PER_PAGE", 2)
    code, _, printed = compare("--model", SMALL, "--images", CHELSEA, COFFEE, CHELSEA, *FEW_METHODS)
    assert code == 0
    assert pages == [(["chelsea.png", "coffee.png"], 0, 3), (["chelsea.png"], 2, 3)]
    assert (
        "photographs.csv, maps.png, maps-plus-plus.png, pairwise.png, maps-2.png, maps-plus-plus-2.png" in printed.out
    )


def test_classes_with_names(compare, small_weights, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("\n".join(["ant", "bee", "cat", "dog", "elk", "fox", "große Maus"]) + "\n", encoding="utf-8")
    options = ["--model", SMALL, "--weights", small_weights, "--images", CHELSEA, "--classes", names]
    code, record, _ = compare(*options, "--target", "große maus", "--contrast", "Bee")
    assert code == 0
    (numbers,) = record["photographs"]
    assert (numbers["target"]["class"], numbers["rivals"][0]["name"]) == (6, "bee")
    names.write_text("ant\nbee\n")
    assert re.search(r"--classes.*7.*2.*names\.txt", one_line_error(*compare(*options)[::2]))
    code, _, printed = compare(*options[:-1], tmp_path / "none.txt")
    assert re.search(r"--classes.*none\.txt", one_line_error(code, printed))


def test_a_transformer_is_explained_at_its_tokens(compare, monkeypatch):
    def small(name, **kwargs):
        return torchvision.models.VisionTransformer(224, 32, 2, 2, 16, 32)

    monkeypatch.setattr(torchvision.models, "get_model", small)
    code, record, _ = compare("--model", "vit_b_32", "--images", CHELSEA)
    assert code == 0
    assert record["layer"] == "encoder.layers.encoder_layer_1.ln_1"
    kinds = {name: numbers["entropy"] for name, numbers in record["photographs"][0]["methods"].items()}
    assert kinds.keys() >= {"LayerGradCam", "Grad-CAM++"}


def test_numbers_repeat_with_the_seed(compare):
    def numbers(seed):
        _, record, _ = compare("--model", SMALL, "--images", CHELSEA, "--seed", seed, *FEW_METHODS)
        return without_times(record)

    first = numbers(1)
    assert numbers(1) == first
    assert numbers(2) != first


def test_weights_from_a_file(compare, small_model, small_weights):
    code, record, _ = compare("--model", SMALL, "--weights", small_weights, "--images", CHELSEA)
    assert code == 0
    assert record["weights"] == "small.pth"
    inputs = torchvision.models.get_model_weights(SMALL).DEFAULT.transforms()(Image.open(CHELSEA))[None]
    with torch.no_grad():
        p = small_model(inputs).softmax(1)[0]
    prediction = record["photographs"][0]["prediction"]
    assert prediction["class"] == int(p.argmax())
    assert prediction["name"] == f"class {int(p.argmax())}"
    assert prediction["probability"] == pytest.approx(float(p.max()), rel=1e-4)


def test_target_and_contrast_by_name_and_number(compare):
    options = ["--images", CHELSEA, "--target", "Tabby", "--contrast", "Egyptian cat", 282, "--reduction", "mean"]
    code, record, _ = compare(*options)
    assert code == 0
    (numbers,) = record["photographs"]
    assert numbers["target"]["name"] == "tabby"
    assert numbers["prediction"]["name"] == "tiger cat"
    assert numbers["margin"] < 0
    assert [rival["name"] for rival in numbers["rivals"]] == ["tiger cat", "Egyptian cat"]
    assert [method["name"] for method in record["methods"]] == [
        "LayerGradCam",
        "Grad-CAM of the probability",
        "Grad-CAM of its logarithm",
        "Grad-CAM of ReST (logit + log probability)",
        "DiffGradCAM mean, Egyptian cat, tiger cat",
        "Grad-CAM++",
        "DiffGradCAM++ mean, Egyptian cat, tiger cat",
    ]


@pytest.mark.parametrize(
    ("options", "variants"),
    [
        (["--contrast", "top:2"], [f"{r}, top 2 rivals" for r in ("logsumexp", "mean", "max")]),
        (["--contrast", "3"], [f"{r}, class 3" for r in ("logsumexp", "mean", "max")]),
        (["--reduction", "max"], ["max, every other class", "max, top 5 rivals"]),
    ],
)
def test_what_is_compared_with_options(compare, small_weights, options, variants):
    target = ["--target", "6"]
    code, record, _ = compare("--model", SMALL, "--weights", small_weights, "--images", CHELSEA, *options, *target)
    assert code == 0
    names = [f"{family}{v}" for family in ("DiffGradCAM ", "DiffGradCAM++ ") for v in variants]
    assert [method["name"] for method in record["methods"] if method["contrast"]] == names


def test_a_prediction_in_the_contrast_set_is_skipped(compare):
    code, record, _ = compare("--images", CHELSEA, COFFEE, "--contrast", "espresso", "--reduction", "max")
    assert code == 0
    assert [numbers["photograph"] for numbers in record["photographs"]] == ["chelsea.png"]
    assert record["skipped"] == ["coffee.png: the prediction 'espresso' is in the contrast set"]


def test_a_layer_by_name(compare, small_model, small_weights):
    options = ["--model", SMALL, "--weights", small_weights, "--images", CHELSEA, "--target", "2"]
    code, record, _ = compare(*options, "--layer", "stage3")
    assert code == 0
    assert record["layer"] == "stage3"
    inputs = torchvision.models.get_model_weights(SMALL).DEFAULT.transforms()(Image.open(CHELSEA))[None]
    cams = LayerGradCam(small_model, small_model.stage3), LayerDiffGradCam(small_model, small_model.stage3)
    maps = [cam.attribute(inputs, 2).detach().flatten().numpy() for cam in cams]
    found = record["photographs"][0]["methods"]["DiffGradCAM logsumexp, every other class"]["agreement"]
    assert found["LayerGradCam"]["pearson"] == pytest.approx(np.corrcoef(*maps)[0, 1], abs=1e-4)


def test_a_module_that_runs_twice_is_no_layer(compare):
    code, _, printed = compare("--layer", "_swish")
    line = one_line_error(code, printed)
    assert "--layer" in line
    assert "_bn1, _avg_pooling:input" in line


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--images", "no/such/folder"], "--images.*'no/such/folder'"),
        (["--model", "resnet51"], "--model.*'resnet51'.*resnet50"),
        (["--model", SMALL, "--layer", "conv55"], r"--layer.*'conv55'.*conv5\?"),
        (["--model", SMALL, "--weights", "no.pth"], "--weights.*IMAGENET1K_V1.*'no.pth'"),
        (["--weights", "DEFAULT"], "--weights.*'DEFAULT'"),
        (["--target", "tabbby"], "--target.*'tabbby'.*'tabby'"),
        (["--target", "1000"], "--target.*999.*1000"),
        (["--target", "-1"], "--target.*999.*-1"),
        (["--target", "CARDIGAN"], "--target.*'CARDIGAN'.*264, 474"),
        (["--target", "281", "--contrast", "285", "tabby"], "--contrast.*'tabby'"),
        (["--contrast", "1", "xyzzy"], "--contrast.*'xyzzy'.*999"),
        (["--contrast", "top:0"], "--contrast.*'top:0'"),
        (["--contrast", "top:3", "7"], "--contrast.*'top:3 7'"),
        (["--reduction", "median"], "--reduction.*'median'"),
        (["--device", "nonsense"], "--device.*'nonsense'"),
        (["--device", "meta"], "--device.*'meta'"),
        (["--threads", "0"], "--threads.*'0'"),
        (["--resume", "--overwrite"], "--overwrite.*--resume"),
        (["nonsense"], "'nonsense'"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_a_wrong_command_is_answered_in_one_line(compare, options, named):
    code, record, printed = compare(*options)
    assert re.search(named, one_line_error(code, printed))
    assert record is None


class Payload:
    """A class that must not come from a pickle."""


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(Payload()),
        b"",
        b"not weights",
        {"fc.weight": torch.zeros(7, 1024)},
        [torch.zeros(3)],
        {"epoch": 3},
        Payload(),
    ],
)
def test_files_that_are_no_weights(compare, tmp_path, content):
    path = tmp_path / "weights.pth"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    code, _, printed = compare("--model", SMALL, "--weights", path, "--images", CHELSEA)
    line = one_line_error(code, printed)
    assert "--weights" in line
    assert "weights.pth" in line


@pytest.fixture
def folder(tmp_path):
    """Two photographs, a broken one between them, and a text."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    Image.open(CHELSEA).resize((64, 48)).save(folder / "a.png")
    (folder / "b.png").write_bytes((folder / "a.png").read_bytes()[:500])
    Image.open(COFFEE).convert("L").save(folder / "c.JPG")
    (folder / "notes.txt").write_text("not an image")
    return folder


def test_a_broken_image_among_others(compare, folder):
    code, record, printed = compare("--model", SMALL, "--images", folder, *FEW_METHODS)
    assert code == 0
    assert record["complete"]
    assert [numbers["photograph"] for numbers in record["photographs"]] == ["a.png", "c.JPG"]
    assert record["skipped"] == ["b.png: no readable image"]
    assert "warning: b.png: no readable image" in printed.err


def test_no_readable_image_at_all(compare, folder):
    code, record, printed = compare("--model", SMALL, "--images", folder / "b.png", folder / "notes.txt")
    assert "--images" in one_line_error(code, printed)
    assert record is None


def test_a_folder_without_images(compare, tmp_path):
    (tmp_path / "empty").mkdir()
    code, _, printed = compare("--images", tmp_path / "empty")
    assert re.search("--images.*empty", one_line_error(code, printed))


def test_a_run_that_is_stopped_is_resumed(compare, monkeypatch):
    read = []

    def load(path):
        read.append(path)
        if len(read) == 2:
            raise KeyboardInterrupt
        return load_image(path)

    monkeypatch.setattr(run, "load_image", load)
    options = ["--model", SMALL, "--images", CHELSEA, COFFEE, CHELSEA, *FEW_METHODS]
    code, record, printed = compare(*options)
    assert (code, record) == (130, None)
    *_, hint, end = printed.err.splitlines()
    assert "--resume" in hint
    assert end == "interrupted"
    code, record, _ = compare(*options, "--resume")
    assert code == 0
    assert read == [CHELSEA, COFFEE, COFFEE, CHELSEA]
    code, uninterrupted, _ = compare(*options, "--overwrite")
    assert without_times(record) == without_times(uninterrupted)
    assert "--resume" not in record["command"]


def test_several_processes_find_the_same(compare, tmp_path, monkeypatch):
    """What each of two would do, one after the other."""
    options = ["--model", SMALL, "--images", CHELSEA, COFFEE, CHELSEA, *FEW_METHODS]
    _, alone, _ = compare(*options)
    monkeypatch.setattr(Ranks, "synchronize", lambda self: None)
    for rank in (1, 0):
        monkeypatch.setattr(pieces, "ranks", lambda device, rank=rank: nullcontext(Ranks(rank, 2, device)))
        code, record, printed = compare(*options, *["--resume"] * (rank == 0))
        assert code == 0
        assert bool(printed.out) == (rank == 0)
    assert without_times(record) == without_times(alone)
    assert record["command"].startswith("torchrun --nproc-per-node 2 -m benchmarks --model")


def test_weights_that_are_not_finite(compare, small_model, tmp_path):
    small_model.fc.weight.data[0] = torch.nan
    torch.save(small_model.state_dict(), tmp_path / "nan.pth")
    code, _, printed = compare("--model", SMALL, "--weights", tmp_path / "nan.pth", "--images", CHELSEA)
    assert "nan" in one_line_error(code, printed)


def test_a_map_without_variation_has_no_correlation(compare, small_model, tmp_path):
    nn.init.zeros_(small_model.fc.weight)
    torch.save(small_model.state_dict(), tmp_path / "flat.pth")
    code, record, printed = compare("--model", SMALL, "--weights", tmp_path / "flat.pth", "--images", CHELSEA)
    assert code == 0
    assert record["methods"][1]["median"]["pearson"] is None
    assert " - " in printed.out


def test_weights_by_name(compare, monkeypatch):
    state = torchvision.models.get_model(SMALL).state_dict()
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *_, **__: state)
    code, record, printed = compare("--model", SMALL, "--weights", "DEFAULT", "--images", COFFEE)
    assert code == 0
    assert record["weights"] == "IMAGENET1K_V1"
    assert "random" not in printed.err
    assert not record["photographs"][0]["prediction"]["name"].startswith("class ")


def test_weights_that_cannot_be_downloaded(compare, monkeypatch):
    def fail(*_, **__):
        raise URLError("no network")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fail)
    code, _, printed = compare("--model", SMALL, "--weights", "DEFAULT")
    assert re.search("--weights DEFAULT.*no network", one_line_error(code, printed))
