"""What the tests of several files run: the command line, on a small model."""

from __future__ import annotations

import json

import pytest
import torch
import torchvision
from small_models import SMALL

from benchmarks.__main__ import main
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
