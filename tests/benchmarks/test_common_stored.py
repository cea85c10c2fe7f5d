"""What was made is not made again, unless anything that determines it has changed."""

from __future__ import annotations

import torch

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
    assert kept.get("other net", make, seed=0)["weight"][0] == 3
    monkeypatch.setattr(stored, "_code", lambda: "changed")
    assert kept.get("net", make, seed=0)["weight"][0] == 4
    monkeypatch.setattr(stored, "versions", lambda: {"torch": "another"})
    assert kept.get("net", make, seed=0)["weight"][0] == 5
    assert len(list((tmp_path / "models").iterdir())) == 5


def test_nothing_is_kept_where_there_is_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Stored(None).get("net", lambda: 3, seed=0) == 3
    assert not list(tmp_path.iterdir())
