"""Runs of the faithfulness benchmark: one process or several, stopped and resumed, on images of one's own."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import torch
import torchvision
from PIL import Image
from small_models import SMALL

import benchmarks
from benchmarks.__main__ import main
from benchmarks.common import peers
from benchmarks.faithfulness import explained_models, measures, run

# A run of seconds. The same code patches this process and those that torchrun starts.
TINY = """
import torch
from benchmarks.common.small_nets import GlyphClassifier
from benchmarks.common import peers
from benchmarks.faithfulness import chunks, explained_models, measures, run
run.CLASSES, run.QUICK_TRAINING, run.QUICK_IMAGES = (3,), 64, (5, 3)
explained_models.GLYPH_CHUNK = 2
measures.STEPS, measures.SAMPLES, measures.REPEATS = 2, 2, 2
# Importing peers takes longer than everything else.
peers.PEERS = {}
run.draw_faithfulness = lambda *_: None

def photographs(args, count, device, warns):
    torch.manual_seed(4)
    model = GlyphClassifier(4).eval()
    load = lambda: chunks.Explained(model, model.features, torch.zeros(3, 1, 1))
    def images(start, stop):
        own = torch.Generator().manual_seed(start)
        return chunks.Images(torch.rand(stop - start, 3, 56, 56, generator=own), list(range(start, stop)))
    return chunks.Subject("prediction", "small images", 0, 3, 2, load, images)

run.image_subject = photographs
"""

SLOW = """
import os, time
from benchmarks.common import pieces
write_at_once = pieces._write
def write(file, result):
    time.sleep(0.2 * int(os.environ["RANK"]))
    write_at_once(file, result)
pieces._write = write
"""


def shrink(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, names in (
        (run, ("CLASSES", "QUICK_TRAINING", "QUICK_IMAGES", "draw_faithfulness", "image_subject")),
        (explained_models, ("GLYPH_CHUNK",)),
        (measures, ("STEPS", "SAMPLES", "REPEATS")),
        (peers, ("PEERS",)),
    ):
        for name in names:
            # Pytest then undoes what the script sets.
            monkeypatch.setattr(module, name, getattr(module, name))
    exec(TINY, {})


@pytest.fixture
def tiny(monkeypatch):
    shrink(monkeypatch)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The folder and output of a run with one process, which others are compared with."""
    folder = tmp_path_factory.mktemp("alone")
    with pytest.MonkeyPatch.context() as monkeypatch, redirect_stdout(io.StringIO()) as printed:
        shrink(monkeypatch)
        assert run_alone(folder) == 0
    return folder, printed.getvalue()


def run_alone(folder: Path, *options: str) -> int:
    return main(["faithfulness", "--quick", "--studies", "comparison", "--output", str(folder), *options])


def torchrun(script: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Two processes on this machine."""
    file = folder.parent / "script.py"
    file.write_text(
        f"{script}\nimport sys\nfrom benchmarks.__main__ import main\nif __name__ == '__main__':\n"
        "    sys.exit(main(sys.argv[1:]))\n"
    )
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(file)]
    return subprocess.run(
        [*launcher, "faithfulness", "--quick", "--studies", "comparison", "--output", str(folder), *options],
        capture_output=True,
        text=True,
        timeout=900,
        env={**os.environ, "PYTHONPATH": str(Path(benchmarks.__file__).parent.parent), "OMP_NUM_THREADS": "1"},
    )


def results(folder: Path) -> dict[str, object]:
    """All that was written, except times and the command."""
    record = json.loads((folder / "faithfulness.json").read_text())
    del record["cost"], record["command"]
    tables = {path.name: path.read_text() for path in sorted(folder.glob("*.csv")) if path.name != "imagenet.csv"}
    return {**record, "tables": tables}


def conclusion(printed: str) -> str:
    return printed.partition("\nWritten to")[0]


def test_two_processes_find_the_same_to_the_last_digit(alone, tmp_path):
    folder, printed = alone
    # The other one is slow, and waited for.
    two = torchrun(TINY + SLOW, tmp_path / "two")
    assert two.returncode == 0, two.stderr
    # Only one of them prints.
    assert conclusion(two.stdout) == conclusion(printed)
    assert results(tmp_path / "two") == results(folder)
    record = json.loads((tmp_path / "two" / "faithfulness.json").read_text())
    assert record["command"] == "torchrun --nproc-per-node 2 -m benchmarks faithfulness --quick --studies comparison"
    assert {row["subject"]: row["images"] for row in record["subjects"] if row["study"] == "prediction"} == {
        "3 classes, 1 object": 3,
        "3 classes, 2 objects": 3,
        "small images": 3,
    }
    assert not (tmp_path / "two" / "unfinished").exists()
    assert max(map(len, printed.splitlines()[:-1])) <= 100


def test_what_is_done_is_not_done_again(alone, tiny, tmp_path, monkeypatch, capsys):
    examined = []
    original = run.examine

    def examine(chunk):
        examined.append(chunk.key)
        if len(examined) == 4:
            raise KeyboardInterrupt
        return original(chunk)

    monkeypatch.setattr(run, "examine", examine)
    assert run_alone(tmp_path) == 130
    assert run_alone(tmp_path) == 2
    assert "--resume" in capsys.readouterr().err
    assert run_alone(tmp_path, "--resume", "--seed", "5") == 2
    assert "seed was 0, is 5" in capsys.readouterr().err
    assert run_alone(tmp_path, "--resume") == 0
    assert results(tmp_path) == results(alone[0])
    # The fourth was begun twice.
    assert sorted([*set(examined), examined[3]]) == sorted(examined)
    assert len(set(examined)) == 3 + 2 + 2 + 2


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(3)
    torch.save(torchvision.models.get_model(SMALL, num_classes=2).state_dict(), tmp_path / "small.pth")
    return tmp_path / "small.pth"


def test_the_users_images(photographs_by_class, weights, tmp_path, monkeypatch, capsys):
    for name in ("STEPS", "SAMPLES", "REPEATS"):
        monkeypatch.setattr(measures, name, 2)
    monkeypatch.setattr(peers, "PEERS", {})
    monkeypatch.setattr(explained_models, "IMAGE_CHUNK", 3)
    options = ["--model", SMALL, "--weights", str(weights), "--data", str(photographs_by_class)]
    assert main(["faithfulness", *options, "--output", str(tmp_path / "out")]) == 0
    record = json.loads((tmp_path / "out" / "faithfulness.json").read_text())
    printed = capsys.readouterr()
    assert "broken.png: no readable image" in printed.err
    (subject,) = record["subjects"]
    assert (subject["subject"], subject["images"]) == (f"{SMALL}, photos", 4)

    model = torchvision.models.get_model(SMALL, num_classes=2).eval()
    model.load_state_dict(torch.load(weights))
    preprocess = torchvision.models.get_model_weights(SMALL).DEFAULT.transforms()
    paths = sorted(photographs_by_class.rglob("[0-9].png"))
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
        50_000 * record["cost"]["seconds per image"][f"prediction, {SMALL}, photos"] / 3600, rel=0.1
    )


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--images", "5"], "--images.*--data"),
        (["--data", "nowhere"], "--data.*'nowhere'"),
        (["--model", "resnet51"], "--model.*'resnet51'"),
        (["--model", SMALL, "--layer", "conv55"], "--layer.*'conv55'"),
        (["--images", "0"], "--images.*'0'"),
    ],
)
def test_bad_input_is_one_line(options, named, tmp_path, capsys):
    assert main(["faithfulness", *options, "--output", str(tmp_path)]) == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert re.search(named, line)


def test_a_folder_without_classes(tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    assert main(["faithfulness", "--data", str(tmp_path / "photos"), "--output", str(tmp_path)]) == 2
    assert "--data" in capsys.readouterr().err
