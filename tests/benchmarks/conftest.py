"""What the tests of several files run: the command line, on a small model."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from small_models import COLOURS, SMALL

from benchmarks.__main__ import main
from benchmarks.common.cutouts import find_material
from benchmarks.common.images import packaged_photographs
from benchmarks.common.result_folders import PUBLISHED
from benchmarks.compare import measures
from benchmarks.compare import run as compare_run


@pytest.fixture(autouse=True)
def _threads():
    """A run sets their number."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def compare(tmp_path, capsys, monkeypatch):
    """Runs the comparison; returns the exit code, compare.json where it was written, and what was printed.

    Figures, which take longest, are drawn where a test says so.
    """
    monkeypatch.setattr(measures, "ROUNDS", 1)
    monkeypatch.setattr(compare_run, "draw_figures", lambda *_: [])

    def run(*argv):
        code = main([*map(str, argv), "--output", str(tmp_path / "out")])
        written = tmp_path / "out" / "compare.json"
        record = json.loads(written.read_text()) if written.exists() else None
        return code, record, capsys.readouterr()

    return run


@pytest.fixture
def small_model():
    torch.manual_seed(3)
    return torchvision.models.get_model(SMALL, num_classes=7).eval()


@pytest.fixture
def published():
    """Reads a published record."""
    return lambda name: json.loads((PUBLISHED / name / f"{name}.json").read_text())


@pytest.fixture
def photographs_by_class(tmp_path):
    """Five photographs of two classes, one of which cannot be read."""
    for i, path in enumerate(packaged_photographs()[:4]):
        place = tmp_path / "photos" / f"n0{i % 2}"
        place.mkdir(parents=True, exist_ok=True)
        Image.open(path).convert("RGB").resize((64, 48)).save(place / f"{i}.png")
    (tmp_path / "photos" / "n01" / "broken.png").write_text("no image")
    return tmp_path / "photos"


@pytest.fixture
def material(tmp_path):
    """Discs of pure colours, a cartoon and a mirrored one, over grey noise in two sizes."""
    objects, behind = tmp_path / "objects", tmp_path / "behind"
    rng = np.random.default_rng(0)
    down, right = np.mgrid[:40, :60]
    disc = ((down - 20) / 15) ** 2 + ((right - 30) / 25) ** 2 <= 1
    for name in ("a", "b", "c", "d", "cartoon/e", "a_mirror"):
        file = objects / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        colour = np.broadcast_to(COLOURS["abcd".find(name)], (40, 60, 3))
        Image.fromarray(np.dstack([colour, disc * 255]).astype(np.uint8), "RGBA").save(file)
    for name, size in (
        ("x/contents/images/small", 80),
        ("x/contents/images/large", 90),
        ("y", 90),
        ("z/screenshot", 90),
    ):
        file = behind / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        grey = rng.integers(60, 190, (size, size, 1), dtype=np.uint8)
        Image.fromarray(np.dstack([grey, grey, grey + np.uint8(5)])).save(file)
    (objects / "f.png").symlink_to(objects / "a.png")
    return find_material(objects, behind)
