"""Runs of the faithfulness benchmark: one process or several, stopped and resumed, on images of one's own."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import nn

import benchmarks
from benchmarks import distributed, examining, explainers, faithfulness, subjects
from benchmarks.__main__ import main, parse
from benchmarks.distributed import Ranks, ranks
from benchmarks.glyphs import draw_scenes
from benchmarks.images import packaged_photographs
from benchmarks.options import UsageError
from benchmarks.progress import begin

ALONE = Ranks()
SMALL = "shufflenet_v2_x0_5"

# A run of seconds: what is patched here is patched by the same words in the processes that torchrun starts.
TINY = """
from benchmarks import examining, faithfulness, explainers, subjects
faithfulness.CLASSES, faithfulness.QUICK_TRAINING, faithfulness.QUICK_IMAGES = (3,), 128, (7, 5)
subjects.GLYPH_CHUNK = 2
examining.STEPS, examining.SAMPLES, examining.REPEATS = 2, 2, 2
explainers.available = faithfulness.available = lambda: []
from benchmarks.glyph_classifier import GlyphClassifier
import torch

def photographs(args, count, device, speak):
    torch.manual_seed(4)
    model = GlyphClassifier(4).eval()
    load = lambda: subjects.Explained(model, model.features, torch.zeros(3, 1, 1))
    def images(start, stop):
        own = torch.Generator().manual_seed(start)
        return subjects.Images(torch.rand(stop - start, 3, 56, 56, generator=own), list(range(start, stop)))
    return subjects.Subject("decision", "small images", 0, 3, 2, load, images)

faithfulness.image_subject = photographs
"""

SLOW = """
import os, time
from benchmarks.progress import Progress
write_at_once = Progress.write_numbers
def write(self, name, numbers):
    time.sleep(0.5 * int(os.environ["RANK"]))
    write_at_once(self, name, numbers)
Progress.write_numbers = write
"""


@pytest.fixture
def tiny(monkeypatch):
    threads = torch.get_num_threads()
    for module, names in (
        (faithfulness, ("CLASSES", "QUICK_TRAINING", "QUICK_IMAGES", "available", "image_subject")),
        (subjects, ("GLYPH_CHUNK",)),
        (examining, ("STEPS", "SAMPLES", "REPEATS")),
        (explainers, ("available",)),
    ):
        for name in names:
            # So that what the script sets is undone.
            monkeypatch.setattr(module, name, getattr(module, name))
    exec(TINY, {})
    yield
    torch.set_num_threads(threads)


def run_alone(folder: Path, *options: str) -> int:
    return main(["faithfulness", "--quick", "--output", str(folder), *options])


def torchrun(script: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Two processes on this machine."""
    file = folder.parent / "script.py"
    file.write_text(
        f"{script}\nimport sys\nfrom benchmarks.__main__ import main\nif __name__ == '__main__':\n"
        "    sys.exit(main(sys.argv[1:]))\n"
    )
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(file)]
    return subprocess.run(
        [*launcher, "faithfulness", "--quick", "--output", str(folder), *options],
        capture_output=True,
        text=True,
        timeout=180,
        env={**os.environ, "PYTHONPATH": str(Path(benchmarks.__file__).parent.parent), "OMP_NUM_THREADS": "1"},
    )


def results(folder: Path) -> dict[str, object]:
    """All that was written, but for times and for how the run was started."""
    record = json.loads((folder / "faithfulness.json").read_text())
    del record["cost"], record["command"]
    tables = {path.name: path.read_text() for path in sorted(folder.glob("*.csv")) if path.name != "imagenet.csv"}
    return {**record, "tables": tables}


def said(printed: str) -> str:
    return printed.partition("\nWritten to")[0]


def test_two_processes_find_the_same_to_the_last_digit(tiny, tmp_path, capsys):
    assert run_alone(tmp_path / "one") == 0
    printed = capsys.readouterr()
    # The other one is slow, and waited for.
    two = torchrun(TINY + SLOW, tmp_path / "two")
    assert two.returncode == 0, two.stderr
    # Only one of them prints.
    assert said(two.stdout) == said(printed.out)
    assert results(tmp_path / "two") == results(tmp_path / "one")
    record = json.loads((tmp_path / "two" / "faithfulness.json").read_text())
    assert record["command"] == "torchrun --nproc-per-node 2 -m benchmarks faithfulness --quick"
    assert {row["subject"]: row["images"] for row in record["subjects"] if row["study"] == "decision"} == {
        "3 classes, 1 object": 5,
        "3 classes, 2 objects": 5,
        "small images": 3,
    }
    assert not (tmp_path / "two" / "unfinished").exists()
    assert max(map(len, printed.out.splitlines()[:-1])) <= 100


def test_a_process_that_dies_ends_the_run_and_the_rest_is_resumed(tiny, tmp_path, capsys):
    killed = torchrun(
        TINY
        + """
import os, signal
from benchmarks.progress import Progress
keep = Progress.write_numbers
def write(self, name, numbers):
    keep(self, name, numbers)
    if os.environ["RANK"] == "1" and name.startswith("localization"):
        os.kill(os.getpid(), signal.SIGKILL)
Progress.write_numbers = write
""",
        tmp_path / "two",
    )
    assert killed.returncode != 0
    assert "Signal 9 (SIGKILL)" in killed.stderr
    assert not (tmp_path / "two" / "faithfulness.json").exists()
    done = {path.name for path in (tmp_path / "two" / "unfinished").glob("*.npz")}
    assert any(name.startswith("localization") for name in done)

    assert run_alone(tmp_path / "two") == 2
    assert "--resume goes on with it" in capsys.readouterr().err
    assert run_alone(tmp_path / "two", "--resume", "--seed", "5") == 2
    assert "--resume: the unfinished run had other options: seed was 0, is 5" in capsys.readouterr().err
    assert run_alone(tmp_path / "two", "--resume") == 0
    assert run_alone(tmp_path / "one") == 0
    assert results(tmp_path / "two") == results(tmp_path / "one")


def test_what_is_done_is_not_done_again(tiny, tmp_path, monkeypatch):
    examined = []
    original = faithfulness.examine

    def examine(chunk):
        examined.append(chunk.key)
        if len(examined) == 4:
            raise KeyboardInterrupt
        return original(chunk)

    monkeypatch.setattr(faithfulness, "examine", examine)
    assert run_alone(tmp_path) == 130
    assert run_alone(tmp_path, "--resume") == 0
    # The fourth was begun twice.
    assert sorted([*set(examined), examined[3]]) == sorted(examined)
    assert len(set(examined)) == 4 + 3 + 3 + 2


@pytest.mark.parametrize("count", range(1, 8))
@pytest.mark.parametrize("pieces", [0, 1, 5, 6, 20])
def test_every_piece_is_taken_once(count, pieces):
    work = list(range(pieces))
    taken = [piece for rank in range(count) for piece in Ranks(rank, count).share(work)]
    assert sorted(taken) == work


def test_chunks_cover_every_image_once():
    subject = subjects.Subject("decision", "a, b", 3, 11, 4, lambda: None, lambda start, stop: list(range(start, stop)))
    chunks = list(subjects.chunks([subject]))
    assert [chunk.images for chunk in chunks] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]
    assert [chunk.key for chunk in chunks] == [f"decision-a-b-3-{start}.npz" for start in (0, 4, 8)]


def test_meeting_nobody_who_is_left(monkeypatch):
    def barrier(**_):
        raise RuntimeError("Connection closed by peer [127.0.0.1]:1234")

    monkeypatch.setattr(distributed.dist, "barrier", barrier)
    ALONE.meet()
    with pytest.raises(UsageError, match="another process of this run has ended, so process 0 stops too"):
        Ranks(0, 2).meet()


def test_alone_unless_started_by_torchrun():
    with ranks(torch.device("cpu")) as processes:
        assert (processes.rank, processes.count, processes.speaks) == (0, 1, True)


def test_progress_keeps_every_digit_and_nothing_unfinished(tmp_path):
    progress = begin(tmp_path, {"seed": 1}, False, ALONE)
    numbers = {"energy on A|x, y": np.random.default_rng(0).normal(size=5), "cluster": np.empty(0)}
    progress.write_numbers("some.npz", numbers)
    again = begin(tmp_path, {"seed": 1}, True, ALONE)
    assert again.has("some.npz")
    assert all((again.read_numbers("some.npz")[name] == values).all() for name, values in numbers.items())

    def fail(path: Path) -> None:
        path.write_text("half")
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        progress.write("other.npz", fail)
    assert not progress.has("other.npz")
    progress.finish()
    # There is nothing to resume, so a run begins.
    assert not begin(tmp_path, {"seed": 2}, True, ALONE).has("some.npz")


# What is examined


class TwoLamps(nn.Module):
    """Logits are how much of each colour there is: the map of a class is exactly where its colour lies."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.head = nn.Conv2d(3, 3, 1, bias=False), nn.Linear(3, 3, bias=False)
        with torch.no_grad():
            self.features.weight.copy_(torch.eye(3)[:, :, None, None])
            self.head.weight.copy_(500 * torch.eye(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x).mean(dim=(2, 3)))


def lamps(study: str) -> subjects.Chunk:
    """Images of 28 pixels in which class 1 lights a square, and class 0 a smaller one beside it."""
    masks = torch.zeros(6, 2, 28, 28, dtype=torch.bool)
    masks[:, 0, 2:14, 2:14], masks[:, 1, 18:26, 16:26] = True, True
    inputs = torch.zeros(6, 3, 28, 28)
    inputs[:, 1], inputs[:, 0] = masks[:, 0].float(), masks[:, 1].float()
    model = TwoLamps().eval()
    shown = subjects.Images(inputs, list(range(6)), torch.tensor([[1, 0]] * 6), masks)
    explained = subjects.Explained(model, model.features, torch.zeros(3, 1, 1))
    return subjects.Chunk(subjects.Subject(study, "lamps", 0, 6, 6, lambda: explained, lambda start, stop: shown), 0)


@pytest.fixture
def no_peers(monkeypatch):
    monkeypatch.setattr(explainers, "available", lambda: [])


@pytest.mark.usefixtures("no_peers")
def test_what_is_located():
    found = examining.examine(lamps("localization"))
    for method in ("LayerGradCam", "DiffGradCAM, rival"):
        for measure, expected in (
            *(("energy on A", 1), ("energy on B", 0), ("energy on clutter", 0)),
            *(("pointing", 1), ("AUROC", 1), ("AUROC rectified", 1)),
        ):
            assert found[f"{measure}|{method}"].tolist() == [expected] * 6, (measure, method)
    # The plain map is flat elsewhere; the contrastive one is negative on B, which correlation sees.
    shown = lamps("localization").images.inputs[0].flatten(1).numpy()
    expected = np.corrcoef(shown[1], shown[1] - shown[0])[0, 1]
    assert found["agreement with LayerGradCam|DiffGradCAM, rival"] == pytest.approx([expected] * 6, abs=1e-5)
    assert found["both on top"].tolist() == found["right"].tolist() == [1] * 6
    assert found["close rivals"].tolist() == [0] * 6


@pytest.mark.usefixtures("no_peers")
def test_what_is_decided():
    found = examining.examine(lamps("decision"))
    a, b = 500 * 144 / 784, 500 * 80 / 784
    margins = np.array([found[f"margin at {step}|DiffGradCAM, rival"][0] for step in range(examining.STEPS + 1)])
    assert margins[[0, -1]] == pytest.approx([a - b, 0], abs=1e-3)
    # A goes first, so that the rival is alone before it goes too.
    assert margins.min() == pytest.approx(-b, abs=1e-3)
    share = (np.arange(examining.STEPS + 1) / examining.STEPS) ** 2
    area = ((margins[1:] + margins[:-1]) / 2 * np.diff(share)).sum()
    assert found["deletion of margin|DiffGradCAM, rival"][0] == pytest.approx(area, abs=1e-3)
    # A is overtaken when so much of it has gone that what is left of it is as large as B.
    assert found["deleted until overtaken|DiffGradCAM, rival"][0] == pytest.approx(64 / 784, abs=0.03)
    assert (found["insertion of margin|DiffGradCAM, rival"] > found["insertion of margin|random map"]).all()
    assert (found["deletion of log-odds|DiffGradCAM, rival"] < found["deletion of log-odds|random map"]).all()
    # Each score is a sum over pixels, and its map says which.
    for method in ("LayerGradCam", "DiffGradCAM, rival", "DiffGradCAM mean, every other class"):
        assert found[f"infidelity, own score|{method}"] == pytest.approx(np.zeros(6), abs=1e-4)
    assert found["infidelity, log-odds|LayerGradCam"].mean() > 0.01
    assert (found["sensitivity|LayerGradCam"] < 0.2).all()


# Images


def test_scenes_of_a_chunk_depend_on_the_chunk_alone(tmp_path):
    one, other = (subjects.glyph_subjects(5, seed, (10, 10), tmp_path, torch.device("cpu")) for seed in (0, 1))
    located, single, double = one
    assert [(s.study, s.name) for s in one] == [
        ("localization", "5 classes, 2 objects"),
        ("decision", "5 classes, 1 object"),
        ("decision", "5 classes, 2 objects"),
    ]
    first = located.images(0, 3)
    assert torch.equal(located.images(0, 3).inputs, first.inputs)
    assert first.masks.shape == (3, 2, 56, 56)
    assert single.images(0, 3).labels.shape == (3, 1)
    different = [located.images(3, 6), double.images(0, 3), other[0].images(0, 3)]
    trained = [draw_scenes(5, 3, seed, 2).images for seed in range(3)]
    for images in [*(scenes.inputs for scenes in different), *trained]:
        assert not torch.equal(images, first.inputs)


@pytest.fixture
def folder(tmp_path):
    """Five photographs of two classes, one of which cannot be read."""
    for i, path in enumerate(packaged_photographs()[:4]):
        place = tmp_path / "photos" / f"n0{i % 2}"
        place.mkdir(parents=True, exist_ok=True)
        Image.open(path).convert("RGB").resize((64, 48)).save(place / f"{i}.png")
    (tmp_path / "photos" / "n01" / "broken.png").write_text("no image")
    return tmp_path / "photos"


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(3)
    torch.save(torchvision.models.get_model(SMALL, num_classes=2).state_dict(), tmp_path / "small.pth")
    return tmp_path / "small.pth"


def test_images_of_ones_own(folder, weights, tmp_path, monkeypatch, capsys):
    for name in ("STEPS", "SAMPLES", "REPEATS"):
        monkeypatch.setattr(examining, name, 2)
    monkeypatch.setattr(explainers, "available", lambda: [])
    monkeypatch.setattr(subjects, "IMAGE_CHUNK", 3)
    options = ["--model", SMALL, "--weights", str(weights), "--data", str(folder)]
    assert main(["faithfulness", *options, "--output", str(tmp_path / "out")]) == 0
    record = json.loads((tmp_path / "out" / "faithfulness.json").read_text())
    printed = capsys.readouterr()
    assert "broken.png: no readable image" in printed.err
    (subject,) = record["subjects"]
    assert (subject["subject"], subject["images"]) == (f"{SMALL}, photos", 4)

    model = torchvision.models.get_model(SMALL, num_classes=2).eval()
    model.load_state_dict(torch.load(weights))
    preprocess = torchvision.models.get_model_weights(SMALL).DEFAULT.transforms()
    paths = sorted(folder.rglob("[0-9].png"))
    with torch.no_grad():
        logits = model(torch.stack([preprocess(Image.open(path)) for path in paths]))
    right = [int(row.argmax()) == int(path.parent.name[-1]) for row, path in zip(logits, paths, strict=True)]
    assert subject["accuracy"]["value"] == pytest.approx(sum(right) / 4)
    margins = [row["margin"] for row in record["deletion"] if row["method"] == "LayerGradCam"]
    ranked = logits.sort(dim=1, descending=True).values
    assert margins[0][0] == pytest.approx(float((ranked[:, 0] - ranked[:, 1]).mean()), rel=1e-4)
    with (tmp_path / "out" / "imagenet.csv").open() as file:
        hours = {row["processes"]: float(row["hours"]) for row in csv.DictReader(file)}
    assert hours["1"] == pytest.approx(
        50_000 * record["cost"]["seconds an image"][f"decision, {SMALL}, photos"] / 3600, rel=0.1
    )


def test_a_limit_takes_images_from_all_over_the_folder(folder):
    taken = subjects._samples(str(folder), 2, classes=2)
    assert [(Path(path).name, label) for path, label in taken] == [("0.png", 0), ("1.png", 1)]
    assert len(subjects._samples(str(folder), 100, classes=2)) == 5
    # Labels mean nothing to a model with other classes.
    assert {label for _, label in subjects._samples(str(folder), None, classes=1000)} == {-1}


def test_views_of_a_photograph_share_a_cluster():
    args = parse(["faithfulness"])
    subject = subjects.image_subject(args, 20, torch.device("cpu"), False)
    images = subject.images(7, 17)
    assert images.clusters == [7, 0, 1, 2, 3, 4, 5, 6, 7, 0]
    assert images.inputs.shape == (10, 3, 224, 224)
    # The first views are not cropped, the next are, and differently.
    assert not torch.equal(images.inputs[1], images.inputs[9])
    assert torch.equal(subject.images(16, 17).inputs[0], images.inputs[9])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--images", "5"], "--images: limits the images of --data, which is not given"),
        (["--data", "nowhere"], "--data: there is no folder 'nowhere'"),
        (["--model", "resnet51"], "--model: there is no 'resnet51'"),
        (["--images", "0"], "allowed is an integer of at least 1"),
    ],
)
def test_bad_input_is_one_line(options, message, tmp_path, capsys):
    assert main(["faithfulness", *options, "--output", str(tmp_path)]) == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line


def test_a_folder_without_classes(tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    assert main(["faithfulness", "--data", str(tmp_path / "photos"), "--output", str(tmp_path)]) == 2
    assert "--data: Couldn't find any class folder" in capsys.readouterr().err
