"""The cost benchmark as a command."""

from __future__ import annotations

import json

import pytest

from benchmarks.__main__ import main
from benchmarks.common import peers
from benchmarks.cost import growth, methods, processes, run, targets
from benchmarks.cost.cases import Case
from benchmarks.cost.options import PROCESSES


def test_the_command(tmp_path, monkeypatch, capsys):
    for module in (peers, methods):
        monkeypatch.setattr(module, "installed_peers", lambda: [])
    # A process for each case takes its time to start.
    monkeypatch.setattr(run, "times", lambda case, rounds, threads: processes.measure_times(case, rounds))
    monkeypatch.setattr(
        run, "peak_mib", lambda name, case, threads: {"forward": 10.0, "LayerGradCam": 80.0}.get(name, 10.4)
    )
    monkeypatch.setattr(run, "allocated_mib", lambda name, case, threads: 10.0)
    monkeypatch.setattr(run, "import_seconds", lambda statement: 2.0 if "diffcam" in statement else 1.0)
    monkeypatch.setattr(growth, "CLASSES", (5, 1000))
    monkeypatch.setattr(growth, "SIZES", (64, 96))
    monkeypatch.setattr(growth, "RIVALS", (1, 10))
    assert main(["cost", "--quick", "--rounds", "1", "--size", "64", "--output", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "cost.json").read_text())
    assert not record["complete"]
    figures = {row["figure"]: row for row in record["targets"]}
    assert figures["importing captum_diffcam, time to importing captum.attr"]["value"] == 2.0
    assert not figures["importing captum_diffcam, time to importing captum.attr"]["reached"]
    by_job = {row["job"]: row for row in record["time"] if row["method"] == "DiffGradCAM" and row["layer"] != "early"}
    assert set(by_job) == {"map", "explain", "rivals", "layers"}
    for figure, job, measure in (
        ("a map, late layer, time to LayerGradCam", "map", "to_grad_cam"),
        ("classify and explain, late layer, time to a bare forward", "explain", "to_forward"),
        ("the same against five rivals, a map each, time to a bare forward", "rivals", "to_forward"),
        ("classify and explain at three layers, time to the earliest alone", "layers", "to_earliest"),
    ):
        assert figures[figure]["value"] == pytest.approx(by_job[job][measure]["median"])
    small = {row["method"]: row["to_grad_cam"]["median"] for row in record["small_image"]}
    assert figures[targets.SMALL]["value"] == pytest.approx(small["DiffGradCAM"])
    assert figures[targets.SMALL]["target"] == "<= 1"
    assert {row["grows"] for row in record["growth"]} == {"classes", "size", "contrast", "rivals"}
    assert (tmp_path / "cost.png").stat().st_size > 10_000
    printed = capsys.readouterr()
    # The last line names the folder.
    assert max(map(len, printed.out.splitlines()[:-1])) <= 100
    assert "pytorch-grad-cam cannot be imported (extra 'peers') and is left out" in printed.err


def test_memory_is_the_median_of_processes(monkeypatch):
    """A process whose peak does not repeat changes nothing."""
    peaks = {"forward": [10.0, 90.0, 11.0, 10.5, 10.6], "DiffGradCAM": [12.0, 11.0, 12.5, 2.0, 99.0]}
    turns = []

    def peak(name, case, threads):
        turns.append(name)
        return peaks[name][turns.count(name) - 1]

    monkeypatch.setattr(run, "peak_mib", peak)
    monkeypatch.setattr(run, "allocated_mib", lambda name, case, threads: {"forward": 8.0, "DiffGradCAM": 9.0}[name])
    rows = run._memory([(Case("resnet50"), name) for name in peaks], threads=1, processes=PROCESSES)
    assert [row["peak_mib"] for row in rows] == [10.6, 12.0]
    assert rows[0]["peaks_mib"] == peaks["forward"]
    assert [row["allocated_mib"] for row in rows] == [8.0, 9.0]
    assert turns == [*peaks] * 5


def test_targets_of_memory():
    """Other peaks change nothing."""
    peaks = {"forward": 10.0, "LayerGradCam": 80.0, "DiffGradCAM": 10.4}
    allocated = {"forward": 5.0, "LayerGradCam": 60.0, "DiffGradCAM": 6.0}
    rows = [
        {
            **{"job": job, "model": model, "layer": "late", "batch": batch, "method": method},
            **{"peak_mib": factor * peak, "allocated_mib": factor * allocated[method]},
        }
        for job, model, batch, factor in (
            ("map", "resnet50", 32, 1),
            ("map", "resnet50", 8, 7),
            ("map", "vit_b_16", 32, 9),
        )
        for method, peak in peaks.items()
    ]
    found = targets.figures_of_memory(rows)
    assert found == {
        "a map, resnet50, batch 32, late layer, memory to a bare forward": pytest.approx(1.04),
        "a map, resnet50, batch 32, late layer, memory to LayerGradCam": pytest.approx(0.13),
        "a map, resnet50, batch 32, late layer, allocations to a bare forward": pytest.approx(1.2),
        "a map, resnet50, batch 32, late layer, allocations to LayerGradCam": pytest.approx(0.1),
    }


def test_means_are_over_models_with_their_largest_batch():
    def row(model, value, method="DiffGradCAM", job="map", batch=4):
        measures = {key: {"median": value} for key in ("to_forward", "to_grad_cam")}
        return {"job": job, "model": model, "layer": "late", "batch": batch, "method": method, **measures}

    rows = [
        *(row("a", value, batch=batch) for batch, value in ((1, 1.0), (8, 2.0), (4, 9.0))),
        row("b", 8.0),
        row("b", 9.0, batch=1),
        row("b", 5.0, "torchcam"),
        row("b", 3.0, job="explain"),
    ]
    found = targets.figures_of_times(rows)
    assert found["a map, late layer, time to LayerGradCam"] == pytest.approx(4.0)
    assert found["classify and explain, late layer, time to a bare forward"] == pytest.approx(3.0)
    assert "classify and explain, late layer, time to torchcam" not in found
    single = {row["figure"]: row["value"] for row in targets.figures_of_single_images(rows)}
    assert single["a map of a single image, late layer, time to a bare forward"] == pytest.approx(3.0)
