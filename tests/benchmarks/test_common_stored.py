"""A result is computed once, unless anything that determines it has changed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

import captum_diffcam
from benchmarks.common import stored
from benchmarks.common.stored import Stored


def test_made_once(tmp_path, monkeypatch):
    made = []

    def make():
        made.append(1)
        return {"weight": torch.full((2,), float(len(made)))}

    kept = Stored(tmp_path / "models")
    first, again = (kept.get("net", make, seed=0) for _ in range(2))
    assert torch.equal(first["weight"], again["weight"])
    assert kept.get("net", make, seed=1)["weight"][0] == 2
    assert kept.get("timm/other net", make, seed=0)["weight"][0] == 3
    monkeypatch.setattr(stored, "_code", lambda: "changed")
    assert kept.get("net", make, seed=0)["weight"][0] == 4
    monkeypatch.setattr(stored, "versions", lambda: {"torch": "another"})
    assert kept.get("net", make, seed=0)["weight"][0] == 5
    assert len(list((tmp_path / "models").iterdir())) == 5


def test_nothing_is_kept_where_there_is_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Stored(None).get("net", lambda: 3, seed=0) == 3
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "file",
    [
        "common/manipulated_models.py",
        "common/stored.py",
        "attacks/reason.py",
        "../captum_diffcam/metrics.py",
    ],
)
def test_what_is_kept_depends_on_all_code_that_may_take_part(tmp_path, monkeypatch, file):
    root = tmp_path / "benchmarks"
    shutil.copytree(Path(stored.__file__).parents[1], root, ignore=shutil.ignore_patterns("results", "__pycache__"))
    shutil.copytree(Path(captum_diffcam.__file__).parent, tmp_path / "captum_diffcam")
    monkeypatch.setattr(stored, "__file__", str(root / "common" / "stored.py"))
    monkeypatch.setattr(captum_diffcam, "__file__", str(tmp_path / "captum_diffcam" / "__init__.py"))
    before = stored._code.__wrapped__()
    assert stored._code.__wrapped__() == before
    changed = root / file
    changed.write_text(changed.read_text() + "# changed")
    assert stored._code.__wrapped__() != before
