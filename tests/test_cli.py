"""`captum-diffcam explain` from the outside: what it writes, says and returns."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser
from shutil import which

import numpy as np
import pytest
import torch
from PIL import Image

from captum_diffcam import CalibratedMap, LayerDiffGradCam, LayerDiffGradCamPlusPlus, LayerDiffHiResCam, top_rivals
from captum_diffcam.cli import main
from captum_diffcam.figures import overlay

MODULE = """
import torch
from torch import nn

def small(num_classes=5):
    torch.manual_seed(3)
    head = nn.Linear(6, num_classes)
    nn.init.normal_(head.weight, std=8.0)
    return nn.Sequential(nn.Conv2d(3, 6, 5, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)

def flat(num_classes=5):
    torch.manual_seed(3)
    head = nn.LazyLinear(num_classes)
    model = nn.Sequential(nn.Conv2d(3, 6, 5, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), head)
    model(torch.zeros(1, 3, 32, 32))
    return model

def one_logit():
    return small(1)

def raising():
    raise RuntimeError("no such checkpoint")

def no_model():
    return 3

def regressor():
    return nn.Conv2d(3, 2, 3)
"""
"""What a user's own module may hold."""


class Page(HTMLParser):
    """What a page shows and what it loads."""

    def __init__(self, text):
        super().__init__()
        self.text, self.tags, self.open = "", [], []
        self.feed(text)
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("br", "meta", "img", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture
def folder(user_folder):
    """The current folder of a user: a module of theirs and a folder of images of several sizes."""
    (user_folder / "usermodels.py").write_text(MODULE)
    rng = np.random.default_rng(0)
    for name, size in {"b.png": (48, 64), "a.jpg": (90, 40), "more/a.png": (64, 64)}.items():
        path = user_folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)
    (user_folder / "images" / "notes.txt").write_text("no image")
    (user_folder / "names.txt").write_text("ant\nbee\ncow\ndog\nelk\n")
    return user_folder


def explain(*arguments, model="usermodels:small"):
    arguments = [str(argument) for argument in arguments]
    if "--images" not in arguments:
        arguments += ["--images", "images"]
    return main(["explain", "--model", model, "--size", "32", "--workers", "0", *arguments])


def manifest(folder, out="report"):
    return json.loads((folder / out / "manifest.json").read_text())


def inputs(folder, name="b.png"):
    """An image as the model should see it: the shorter side resized, the centre cut out, ImageNet's statistics."""
    image = Image.open(folder / "images" / name).convert("RGB")
    left, top = (image.width - min(image.size)) / 2, (image.height - min(image.size)) / 2
    box = (left, top, image.width - left, image.height - top)
    pixels = np.array(image.resize((32, 32), Image.Resampling.BILINEAR, box), dtype=np.float64) / 255
    normal = (pixels - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    return torch.tensor(normal, dtype=torch.float32).permute(2, 0, 1)[None]


def test_a_folder_becomes_a_page_overlays_and_maps(folder, capsys):
    assert explain("--classes", "names.txt") == 0
    record = manifest(folder)
    assert [image["file"] for image in record["images"]] == ["a.jpg", "b.png", "more/a.png"]
    assert (record["explained"], record["skipped"], record["unfinished"]) == (3, 0, 0)
    assert (record["model"], record["layer"], record["classes"][2]) == ("usermodels:small", "1", "cow")
    assert record["versions"]["torch"] == torch.__version__.split("+")[0]
    assert record["arguments"]["classes"] == "names.txt"
    for image in record["images"]:
        (overlay,) = image["overlays"]
        with Image.open(folder / "report" / overlay) as picture, Image.open(folder / "images" / image["file"]) as own:
            assert picture.size == tuple(image["size"]) == own.size
    assert "layer 1" in capsys.readouterr().out
    assert {path.name for path in (folder / "report").iterdir()} == {"index.html", "manifest.json", "maps", "overlays"}


@pytest.mark.parametrize(
    "method",
    [
        ("diffgradcam", LayerDiffGradCam, "small"),
        ("plusplus", LayerDiffGradCamPlusPlus, "small"),
        ("hirescam", LayerDiffHiResCam, "flat"),
    ],
)
@pytest.mark.parametrize("reduction", ["logsumexp", "mean", "max"])
def test_maps_and_scores_are_those_of_the_library(folder, method, reduction):
    """All of them come from one forward pass; the library gives each by itself."""
    questions = ["all", "cow,dog", "2", "top2", "none"]
    options = [option for text in questions for option in ("--contrast", text)]
    option, kind, network = method
    out = ("--layer", "1", "--method", option, "--reduction", reduction, "--target", "bee", "--classes", "names.txt")
    assert explain(*options, *out, model=f"usermodels:{network}") == 0
    import usermodels

    model = getattr(usermodels, network)().eval()
    cam, x = kind(model, model[1]), inputs(folder)
    entry = manifest(folder)["images"][1]
    stored = np.load(folder / "report" / entry["maps"])
    contrasts = [None, [2, 3], 2, top_rivals(2), []]
    for contrast, single_map, score in zip(contrasts, stored["maps"], stored["scores"], strict=True):
        explanation = cam.explain(x, 1, contrast=contrast, reduction=reduction)
        scale = float(explanation.maps.abs().max())
        np.testing.assert_allclose(single_map, explanation.maps[0, 0], atol=1e-4 * scale)
        np.testing.assert_allclose(score, explanation.score[0], atol=1e-4)
    rivals = cam.attribute_rivals(x, 1, top_rivals(3))
    assert stored["rivals"].tolist() == rivals.rivals[0].tolist()
    scale = float(rivals.maps.abs().max())
    np.testing.assert_allclose(stored["rival_maps"], rivals.maps[0, :, 0], atol=1e-4 * scale)
    probabilities = model(x)[0].softmax(dim=0)
    np.testing.assert_allclose(stored["probabilities"], probabilities.detach(), atol=1e-5)
    assert stored["target"] == 1
    assert [contrast["against"] for contrast in entry["contrasts"]][1:3] == ["cow and dog", "cow"]
    assert [rival["class"] for rival in entry["rivals"]] == stored["rivals"].tolist()
    logits = model(x)[0].tolist()
    margins = [logits[1] - logits[rival] for rival in stored["rivals"]]
    np.testing.assert_allclose([rival["score"] for rival in entry["rivals"]], margins, atol=1e-4)


@pytest.mark.parametrize(
    "method", [("plusplus", LayerDiffGradCamPlusPlus, "small"), ("hirescam", LayerDiffHiResCam, "flat")]
)
@pytest.mark.parametrize("target", [None, "1"])
def test_calibrated_maps_are_those_of_the_library(folder, method, target):
    option, kind, network = method
    extra = ("--contrast", "2", "--contrast", "top2", "--reduction", "mean", "--method", option, "--layer", "1")
    extra += ("--target", target) if target else ()
    assert explain("--calibrate", *extra, model=f"usermodels:{network}") == 0
    import usermodels

    model = getattr(usermodels, network)().eval()
    record = manifest(folder)
    assert record["calibrated"] is True
    page = Page((folder / "report" / "index.html").read_text())
    assert len(page.all("img")) == 3 * (2 * 2 + 3)
    labels = [tag["aria-label"] for tag in page.all("div") if "aria-label" in tag]
    assert [label.startswith("calibrated") for label in labels[1:5]] == [False, True, False, True]
    for entry in record["images"]:
        x, stored = inputs(folder, entry["file"]), np.load(folder / "report" / entry["maps"])
        predicted = int(model(x).argmax()) if target is None else int(target)
        assert stored["target"] == predicted
        rivals = [None if predicted == 2 else 2, top_rivals(2)]
        assert [item["against"] for item in entry["calibrated"]] == [item["against"] for item in entry["contrasts"]]
        pictures = [folder / "report" / name for name in entry["overlays"]]
        assert pictures[2:] == [folder / "report" / item["overlay"] for item in entry["calibrated"]]
        assert len({picture.read_bytes() for picture in pictures}) == 4
        for number, contrast in enumerate(rivals):
            expected = CalibratedMap(kind(model, model[1])).calibrate(x, predicted, contrast=contrast, reduction="mean")
            scale = float(expected.maps.abs().max())
            np.testing.assert_allclose(stored["calibrated_maps"][number], expected.maps[0, 0], atol=1e-3 * scale)
            np.testing.assert_allclose(stored["falls"][number], expected.falls[0], atol=1e-4)
            np.testing.assert_allclose(stored["residuals"][number], expected.residual[0], atol=1e-4)
            item = entry["calibrated"][number]
            assert item["residual"] == pytest.approx(
                float(np.sqrt((stored["residuals"][number] ** 2).mean())), abs=1e-5
            )
            assert item["fall"] == pytest.approx(float(np.sqrt((stored["falls"][number] ** 2).mean())), abs=1e-5)
        assert stored["falls"].shape == (2, 9)


def test_calibration_takes_as_many_forward_passes_as_the_help_says(folder, capsys, monkeypatch):
    import usermodels

    seen = []

    def counted(**kwargs):
        model = small(**kwargs)
        model[0].register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
        return model

    small = usermodels.small
    monkeypatch.setattr(usermodels, "small", counted)
    cost = []
    for options in ([], ["--calibrate"]):
        seen.clear()
        assert explain("--out", "with" if options else "without", "--batch-size", "2", *options) == 0
        assert max(seen) <= 2
        cost.append(sum(seen))
    # Three images, and the trial of the first: 9 windows, the score of the whole image, and the map.
    assert cost[1] - cost[0] == (3 + 1) * (9 + 2)
    stored = np.load(folder / "without" / "maps" / "b.npz")
    assert not {"calibrated_maps", "falls", "residuals"} & set(stored)
    assert manifest(folder, "without")["images"][0]["calibrated"] == []


def test_the_prediction_is_explained_if_there_is_no_target(folder):
    assert explain() == 0
    import usermodels

    model = usermodels.small().eval()
    entry = manifest(folder)["images"][1]
    assert entry["target"] == entry["prediction"]
    assert entry["target"]["class"] == int(model(inputs(folder)).argmax())
    assert len(np.load(folder / "report" / entry["maps"])["maps"]) == 1


def test_a_class_is_not_explained_against_itself(folder):
    """A folder may well hold images of the rival."""
    assert explain("--out", "first") == 0
    target = manifest(folder, "first")["images"][1]["target"]["class"]
    assert explain("--contrast", target, "--contrast", "all") == 0
    entry = manifest(folder)["images"][1]
    own, every = entry["contrasts"]
    assert own["score"] == every["score"]
    assert own["against"].startswith(every["against"])
    assert f"class {target}" in own["against"]


def test_a_single_logit_is_two_classes(folder):
    assert explain(model="usermodels:one_logit") == 0
    import usermodels

    logit = usermodels.one_logit().eval()(inputs(folder))[0, 0].detach()
    entry = manifest(folder)["images"][1]
    assert entry["target"]["class"] == int(logit > 0)
    assert entry["target"]["probability"] == pytest.approx(float(logit.abs().sigmoid()), abs=1e-5)
    assert entry["contrasts"][0]["score"] == pytest.approx(float(logit.abs()), abs=1e-4)
    assert len(entry["rivals"]) == 1


def test_the_page_needs_nothing_else(folder):
    assert explain("--classes", "names.txt", "--target", "elk", "--contrast", "top2", "--contrast", "none") == 0
    page = Page((folder / "report" / "index.html").read_text())
    assert len(page.all("article")) == 3
    assert not page.all("link")
    assert all("src" not in script for script in page.all("script"))
    assert all(image["src"].startswith("data:image/") for image in page.all("img"))
    # Two questions and three rivals.
    assert len(page.all("img")) == 3 * (2 + 3)
    assert "url(data:image/jpeg;base64," in page.all("article")[0]["style"]
    assert "://" not in (folder / "report" / "index.html").read_text()
    for link in page.all("a"):
        assert (folder / "report" / link["href"]).is_file()
    assert "elk" in page.text
    assert all("elk" in card["data-words"] for card in page.all("article"))
    assert any(meta.get("name") == "viewport" for meta in page.all("meta"))


def browser():
    """A browser that runs without a display, if there is one."""
    return next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := which(name))), None)


@pytest.mark.skipif(browser() is None, reason="there is no Chromium")
@pytest.mark.parametrize(("words", "count"), [("", 3), ("#more elk", 1), ("#zebra", 0)])
def test_a_browser_finds_images_by_words(folder, words, count):
    assert explain("--classes", "names.txt", "--target", "elk") == 0
    address = (folder / "report" / "index.html").as_uri() + words.replace(" ", "%20")
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'browser'}", "--dump-dom"]
    done = subprocess.run([browser(), *options, address], capture_output=True, text=True, timeout=60)
    page = Page(done.stdout)
    assert f"{count} of 3" in page.text
    assert sum("hidden" not in card for card in page.all("article")) == count


def overlay_of(folder, name):
    with Image.open(folder / "report" / "overlays" / name) as picture:
        return np.array(picture).astype(int)


def test_the_overlay_lies_where_the_model_looked(folder):
    """Of a square model only the middle of a wide image is coloured, as the library colours it."""
    rng = np.random.default_rng(1)
    grey = np.repeat(rng.integers(0, 256, (120, 200, 1), dtype=np.uint8), 3, axis=2)
    Image.fromarray(grey).save(folder / "wide.png")
    assert explain("--images", "wide.png") == 0
    drawn = overlay_of(folder, "wide.png")
    entry = manifest(folder)["images"][0]
    np.testing.assert_allclose(entry["region"], (40, 0, 160, 120), atol=0.7)
    stored = torch.tensor(np.load(folder / "report" / entry["maps"])["maps"][None])
    seen = torch.tensor(grey[None, :, 40:160]).permute(0, 3, 1, 2)
    expected = 255 * overlay(seen, stored)[0]
    # The strip at the foot is the caption's.
    np.testing.assert_allclose(drawn[:100, 41:159], expected[:100, 1:119], atol=4)
    beside = np.concatenate([drawn[:100, :39], drawn[:100, 161:]], axis=1)
    assert (beside == beside[..., :1]).all()
    assert beside.mean() < grey.mean() / 2
    assert drawn[-6:].max() > 200  # letters


def test_overlays_of_large_images_are_those_of_small_ones(folder):
    with Image.open(folder / "images" / "b.png") as image:
        image.resize((960, 720), Image.Resampling.BICUBIC).save(folder / "large.png")
        image.resize((96, 72), Image.Resampling.BICUBIC).save(folder / "small.png")
    assert explain("--images", "large.png", "small.png", "--layer", "1") == 0
    with Image.open(folder / "report" / "overlays" / "large.png") as picture:
        shrunk = np.array(picture.resize((96, 72), Image.Resampling.BOX)).astype(int)
    difference = np.abs(shrunk - overlay_of(folder, "small.png"))[:55, 14:82]
    assert difference.mean() < 12


def test_names_cannot_break_the_page(folder):
    (folder / "names.txt").write_text('<b>ant\n"bee"\n&cow\n<script>alert(1)</script>\nélan\n', encoding="utf-8")
    name = "odd 'name' \"<i> #1% ü.png"
    (folder / "images" / "b.png").rename(folder / "images" / name)
    assert explain("--classes", "names.txt", "--target", "3") == 0
    text = (folder / "report" / "index.html").read_text(encoding="utf-8")
    page = Page(text)
    assert len(page.all("script")) == 1
    assert name in page.text
    assert "<script>alert(1)</script>" in page.text
    from urllib.parse import unquote

    assert all((folder / "report" / unquote(link["href"])).is_file() for link in page.all("a"))


def test_unreadable_images_are_named_and_left_out(folder, capsys):
    (folder / "images" / "broken.jpg").write_bytes(b"no image at all")
    data = (folder / "images" / "a.jpg").read_bytes()
    (folder / "images" / "cut.jpg").write_bytes(data[: len(data) // 2])
    assert explain("--batch-size", "2") == 3
    record = manifest(folder)
    assert [item["file"] for item in record["skipped_images"]] == ["broken.jpg", "cut.jpg"]
    assert all(item["reason"] for item in record["skipped_images"])
    assert (record["explained"], record["skipped"]) == (3, 2)
    assert "broken.jpg" in capsys.readouterr().err
    assert "cut.jpg" in Page((folder / "report" / "index.html").read_text()).text


def test_no_readable_image_is_an_error(folder, capsys):
    (folder / "broken.jpg").write_bytes(b"no image at all")
    assert explain("--images", "broken.jpg") == 1
    assert "broken.jpg" in capsys.readouterr().err
    assert not (folder / "report").exists()


def test_a_folder_that_is_not_empty_needs_overwrite(folder, capsys):
    (folder / "report").mkdir()
    (folder / "report" / "mine.txt").write_text("keep me")
    assert explain() == 2
    assert "--out" in capsys.readouterr().err
    assert explain("--overwrite") == 0
    assert (folder / "report" / "mine.txt").read_text() == "keep me"
    # What belongs to an image that is gone goes too, and nothing else.
    assert explain("--overwrite", "--images", "images/b.png") == 0
    names = {path.relative_to(folder / "report").as_posix() for path in (folder / "report").rglob("*.*")}
    assert names == {"index.html", "manifest.json", "maps/b.npz", "mine.txt", "overlays/b.png"}


def test_an_old_manifest_cannot_delete_files_elsewhere(folder):
    (folder / "report").mkdir()
    (folder / "report" / "manifest.json").write_text(
        json.dumps({"images": [{"maps": "../names.txt", "overlays": [str(folder / "usermodels.py")]}]})
    )
    assert explain("--overwrite") == 0
    assert (folder / "names.txt").exists()
    assert (folder / "usermodels.py").exists()


def test_a_report_among_the_images_is_not_explained(folder):
    assert explain("--out", "images/report") == 0
    assert explain("--out", "images/report", "--overwrite") == 0
    assert manifest(folder, "images/report")["explained"] == 3


def test_images_of_one_name_do_not_overwrite_each_other(folder):
    Image.open(folder / "images" / "b.png").save(folder / "images" / "a.png")
    assert explain("--images", "images", "images/more/a.png") == 0
    entries = manifest(folder)["images"]
    assert len({entry["maps"] for entry in entries}) == len(entries) == 5


@pytest.mark.parametrize("at", [1, 2])
def test_ctrl_c_keeps_what_is_finished(folder, monkeypatch, at, capsys):
    load = np.savez
    calls = []

    def interrupted(*args, **kwargs):
        calls.append(args)
        if len(calls) > at:
            raise KeyboardInterrupt
        load(*args, **kwargs)

    monkeypatch.setattr(np, "savez", interrupted)
    assert explain("--batch-size", "1") == 130
    record = manifest(folder)
    assert (record["explained"], record["unfinished"]) == (at, 3 - at)
    assert len(record["images"]) == at
    page = Page((folder / "report" / "index.html").read_text())
    assert len(page.all("article")) == at
    assert "interrupted" in page.text
    assert not (folder / "report" / ".parts").exists()


def test_only_the_first_process_writes_before_all_have_finished(folder, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", interrupted)
    monkeypatch.setenv("WORLD_SIZE", "3")
    for rank in (2, 0):
        assert not (folder / "report" / "index.html").exists()
        monkeypatch.setenv("RANK", str(rank))
        assert explain() == 130
    assert manifest(folder)["unfinished"] == 3


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other signals")
def test_the_signal_by_which_torchrun_ends_its_processes_keeps_what_is_finished(folder):
    for number in range(300):
        (folder / "images" / f"{number}.png").write_bytes((folder / "images" / "b.png").read_bytes())
    arguments = ["explain", "--model", "usermodels:small", "--size", "32", "--images", "images", "--workers", "1"]
    command = [sys.executable, "-m", "captum_diffcam", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        part = folder / "report" / ".parts" / "0.jsonl"
        while process.poll() is None and not (part.exists() and part.stat().st_size):
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 130
    record = manifest(folder)
    assert 0 < record["explained"] == len(record["images"]) < 303
    assert record["explained"] + record["unfinished"] == 303


def test_an_error_in_mid_run_keeps_what_is_finished(folder, monkeypatch, capsys):
    from captum_diffcam.cli import explain as command

    answers = command.Explainer.__call__
    calls = []

    def failing(self, images):
        calls.append(images)
        if len(calls) > 2:  # the first is the trial before anything is written
            raise torch.OutOfMemoryError("no memory is left")
        return answers(self, images)

    monkeypatch.setattr(command.Explainer, "__call__", failing)
    assert explain("--batch-size", "1") == 2
    assert "--batch-size" in capsys.readouterr().err
    assert manifest(folder)["explained"] == 1


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_processes_share_the_images(folder, monkeypatch, order):
    """As torchrun starts them, here one after the other; whoever comes last writes the page."""
    assert explain("--out", "alone") == 0
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in order:
        monkeypatch.setenv("RANK", str(rank))
        assert not (folder / "report" / "index.html").exists()
        assert explain("--out", "report") == 0
    alone, both = manifest(folder, "alone"), manifest(folder)
    assert both["processes"] == 2
    for one, other in zip(alone["images"], both["images"], strict=True):
        assert one["file"] == other["file"]
        assert one["contrasts"][0]["score"] == pytest.approx(other["contrasts"][0]["score"], abs=1e-4)
    assert len(Page((folder / "report" / "index.html").read_text()).all("article")) == 3
    assert not (folder / "report" / ".parts").exists()


def test_a_process_with_unreadable_images_does_not_stop_the_others(folder, monkeypatch):
    """Torchrun ends all processes as soon as one returns anything but 0."""
    (folder / "images" / "a.jpg").write_bytes(b"no image at all")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    assert explain() == 0
    monkeypatch.setenv("RANK", "1")
    assert explain() == 3
    assert manifest(folder)["skipped"] == 1


def test_a_process_that_dies_does_not_take_the_page_with_it(folder, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert explain() == 0
    part = folder / "report" / ".parts" / "1.jsonl"
    part.write_text(part.read_text() + '{"index": 7, "ima')
    (folder / "report" / ".parts" / "1.done").unlink()
    monkeypatch.setenv("RANK", "0")
    savez = np.savez

    def interrupted(*args, **kwargs):
        savez(*args, **kwargs)
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", interrupted)
    assert explain() == 130
    assert [image["file"] for image in manifest(folder)["images"]] == ["b.png"]


WRONG = {
    "--batch-size": "0",
    "--workers": "-1",
    "--size": "12x",
    "--mean": "0.1,0.2",
    "--std": "x",
    "--reduction": "sum",
    "--method": "gradcam",
    "--device": "abacus",
    "--images": "nowhere",
    "--layer": "9",
    "--target": "5",
    "--contrast": "zebra",
    "--classes": "images/b.png",
    "--weights": "nowhere.pt",
    "--model": "usermodels:nothing",
    "--nonsense": "1",
}


@pytest.mark.parametrize("option", WRONG)
def test_wrong_use_is_one_sentence_and_exit_code_2(folder, option, capsys):
    assert explain(option, WRONG[option]) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1
    assert errors[0].startswith("captum-diffcam: ")
    assert option in errors[0]
    assert not (folder / "report").exists()


@pytest.mark.parametrize("model", ["raising", "no_model", "regressor"])
def test_functions_that_return_no_classifier_are_refused(folder, model, capsys):
    assert explain(model=f"usermodels:{model}") == 2
    assert "--model" in capsys.readouterr().err


def test_the_target_is_no_rival(folder, capsys):
    assert explain("--target", "1", "--contrast", "1,2") == 2
    assert "--contrast" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["cow", "COW", "kine", "2", " kine "])
def test_classes_go_by_number_name_and_synonym(folder, text):
    (folder / "names.txt").write_text("ant\nbee\ncow, kine\ndog\nelk\n")
    assert explain("--classes", "names.txt", "--target", text) == 0
    assert manifest(folder)["images"][0]["target"]["class"] == 2


def test_a_name_that_stands_for_two_classes_is_refused(folder, capsys):
    (folder / "names.txt").write_text("crane\nbee\ncow\ncrane\nelk\n")
    assert explain("--classes", "names.txt", "--target", "crane") == 2
    assert "--target" in capsys.readouterr().err


def test_names_must_be_as_many_as_classes(folder, capsys):
    (folder / "names.txt").write_text("ant\nbee\n")
    assert explain("--classes", "names.txt") == 2
    assert "--classes" in capsys.readouterr().err


def test_a_layer_goes_by_its_name(folder):
    assert explain("--layer", "0") == 0
    assert manifest(folder)["layer"] == "0"


def test_workers_read_what_one_process_reads(folder):
    assert explain("--out", "alone") == 0
    arguments = ["explain", "--model", "usermodels:small", "--size", "32", "--images", "images", "--workers", "2"]
    done = subprocess.run([sys.executable, "-m", "captum_diffcam", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert manifest(folder)["images"] == manifest(folder, "alone")["images"]


def test_help_fits_on_a_screen(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as end:
        main(["explain", "--help"])
    assert end.value.code == 0
    assert len(capsys.readouterr().out.splitlines()) <= 45
