"""The how-to of many GPUs: two processes find what one finds."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

import captum_diffcam.audit

PAGE = Path(__file__).parent.parent / "docs" / "galleries" / "howto" / "many_gpus.py"


@pytest.fixture
def run(monkeypatch):
    """The page as one process of several would run it. That they really meet is for CI to see, under torchrun."""
    monkeypatch.setattr(captum_diffcam.audit, "audit", lambda model, layer, images: f"audited {len(images)}")
    met = []
    for name in ("init_process_group", "barrier", "destroy_process_group"):
        monkeypatch.setattr(dist, name, lambda *args, name=name: met.append(name))

    def run(folder, rank, count):
        monkeypatch.setattr("sys.argv", [str(PAGE), str(folder)])
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", str(count))
        met.clear()
        return runpy.run_path(str(PAGE)), list(met)

    return run


def test_two_processes_find_what_one_finds(run, tmp_path, capsys):
    alone, met = run(tmp_path / "one", 0, 1)
    assert met == []
    printed = capsys.readouterr().out
    assert "audited 9" in printed
    assert "coffee.png: espresso, a map of (1, 7, 7)" in printed
    _, met = run(tmp_path / "two", 1, 2)
    assert met == ["init_process_group", "barrier", "destroy_process_group"]
    assert "a map of" not in capsys.readouterr().out
    both, _ = run(tmp_path / "two", 0, 2)
    assert capsys.readouterr().out == printed
    # Nine images for two: one is explained twice.
    assert sorted(both["number"].tolist()) == [0, *range(9)]
    assert alone["number"].tolist() == list(range(9))
    maps = both["maps"][[both["place"][n] for n in range(9)]]
    # Batches of other images, so not to the last digit.
    assert torch.allclose(maps, alone["maps"], atol=1e-5 * float(alone["maps"].abs().max()))
