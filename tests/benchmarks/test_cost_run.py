"""The cost benchmark as a command. Whether we are fast is for it to say."""

from __future__ import annotations

import json

import pytest

from benchmarks.__main__ import main
from benchmarks.common import peers
from benchmarks.cost import growth, run, targets


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(peers, "installed_peers", lambda: [])
    monkeypatch.setattr(run, "available", lambda: ["forward", "LayerGradCam", "DiffGradCAM"])
    monkeypatch.setattr(
        run, "peak_mib", lambda name, case, threads: {"forward": 10.0, "LayerGradCam": 80.0, "DiffGradCAM": 10.4}[name]
    )
    monkeypatch.setattr(run, "import_seconds", lambda statement: 2.0 if "diffcam" in statement else 1.0)
    monkeypatch.setattr(targets, "_is_figure", lambda row: True)
    monkeypatch.setattr(growth, "CLASSES", (5, 1000))
    monkeypatch.setattr(growth, "SIZES", (32, 64))
    monkeypatch.setattr(growth, "RIVALS", (1, 10))
    assert main(["cost", "--quick", "--size", "32", "--output", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "cost.json").read_text())
    assert not record["complete"]
    assert {row["method"] for row in record["time"]} == {"forward", "LayerGradCam", "DiffGradCAM"}
    figures = {row["figure"]: row for row in record["targets"]}
    assert figures["peak memory of LayerGradCam there, to ours"]["value"] == pytest.approx(80 / 10.4, rel=1e-5)
    assert figures["peak memory, resnet50, batch 32, late layer, to a bare forward"]["reached"]
    assert figures["importing captum_diffcam, to importing captum.attr"]["value"] == 2.0
    assert not figures["importing captum_diffcam, to importing captum.attr"]["reached"]
    late = [row for row in record["time"] if row["method"] == "DiffGradCAM" and row["layer"] == "late"]
    found = figures["time, geometric mean over models, late layer, to LayerGradCam"]
    assert found["value"] == pytest.approx(late[0]["to_grad_cam"]["median"])
    assert {row["grows"] for row in record["growth"]} == {"classes", "size", "contrast", "rivals"}
    assert (tmp_path / "cost.png").stat().st_size > 10_000
    printed = capsys.readouterr()
    # The last line names the folder.
    assert max(map(len, printed.out.splitlines()[:-1])) <= 100
    assert "pytorch-grad-cam cannot be imported (extra 'peers') and is left out" in printed.err
