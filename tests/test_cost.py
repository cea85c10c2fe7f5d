"""The cost benchmark: its arithmetic, and that it measures what it names. Whether we are fast is for it to say."""

from __future__ import annotations

import itertools
import json
import math

import pytest
import torch
from captum.attr import LayerGradCam

from benchmarks import contenders, cost, growth, measuring
from benchmarks.__main__ import main
from captum_diffcam import LayerDiffGradCam, LayerDiffGradCamPlusPlus

CASE = contenders.Case("mobilenet_v3_small", "early", 2, 32, 5)


def test_contenders_take_turns(monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr(measuring, "perf_counter", lambda: float(next(clock)))
    turns = []
    actions = {"a": lambda: turns.append("a"), "b": lambda: (turns.append("b"), next(clock))}
    seconds = measuring.interleaved_seconds(actions, 2, "cpu")
    assert turns == ["a", "b"] * 3
    assert seconds == {"a": [1.0, 1.0], "b": [2.0, 2.0]}


def test_ratios_are_taken_within_rounds():
    """A machine that turns ten times slower in between does not matter."""
    seconds = {"a": [1.0, 10.0, 3.0], "b": [2.0, 20.0, 6.0]}
    assert measuring.ratio(seconds, "b", "a") == {"median": 2.0, "lower": 2.0, "upper": 2.0}
    assert measuring.spread([1.0, 2.0, 3.0, 4.0, 5.0]) == {"median": 3.0, "lower": 2.0, "upper": 4.0}
    assert measuring.spread([7.0]) == {"median": 7.0, "lower": 7.0, "upper": 7.0}


@pytest.mark.parametrize(
    ("name", "method", "kwargs"),
    [
        ("LayerGradCam", LayerGradCam, {}),
        ("DiffGradCAM", LayerDiffGradCam, {}),
        ("DiffGradCAM++", LayerDiffGradCamPlusPlus, {}),
    ],
)
def test_every_contender_makes_its_map(name, method, kwargs):
    subject = CASE.build()
    model, layer, images, targets, _ = subject
    maps = contenders.action(name, subject)()
    torch.testing.assert_close(maps, method(model, layer).attribute(images, target=targets, **kwargs))


def test_a_bare_forward_records_nothing():
    output = contenders.action("forward", CASE.build())()
    assert output.shape == (2, 5)
    assert not output.requires_grad


@pytest.mark.parametrize("name", contenders.PEERS)
def test_peers_explain_the_same_map(name):
    """Theirs is rectified and scaled, so only where they point is compared."""
    pytest.importorskip(contenders.PEERS[name], exc_type=ImportError)
    subject = contenders.Case("resnet50", "late", 1, 96).build()
    model, layer, images, *_ = subject
    captum = LayerGradCam(model, layer)
    plain = {c: captum.attribute(images, target=c).detach() for c in range(10)}
    target = max(plain, key=lambda c: plain[c].relu().sum())  # random weights: some maps have nothing above zero
    maps = contenders.action(name, subject._replace(targets=[target]))()
    maps = torch.as_tensor(maps[0] if isinstance(maps, list) else maps)
    ours = torch.nn.functional.interpolate(plain[target].relu(), maps.shape[1:], mode="bilinear")
    assert torch.corrcoef(torch.stack([maps.flatten(), ours.flatten()]))[0, 1] > 0.95


@pytest.mark.parametrize("model", contenders.LAYERS)
def test_layers_are_early_middle_and_late(model):
    """In the order in which they finish; each runs once."""
    network, _, images, *_ = contenders.Case(model, batch=1).build()
    finished = []
    for place, layer in contenders.LAYERS[model].items():
        network.get_submodule(layer).register_forward_hook(lambda *_, place=place: finished.append(place))
    network(images)
    assert finished == ["early", "middle", "late"]


def test_memory_is_measured_in_a_process_of_its_own():
    peak = measuring.peak_mib("forward", CASE, threads=1)
    assert math.isnan(peak) or 0 <= peak < 500
    with pytest.raises(RuntimeError, match="nobody failed on Case"):
        measuring.peak_mib("nobody", CASE, threads=1)


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cost, "available", lambda: ["forward", "LayerGradCam", "DiffGradCAM"])
    monkeypatch.setattr(
        cost, "peak_mib", lambda name, case, threads: {"forward": 10.0, "LayerGradCam": 80.0, "DiffGradCAM": 10.4}[name]
    )
    monkeypatch.setattr(cost, "import_seconds", lambda statement: 2.0 if "diffcam" in statement else 1.0)
    monkeypatch.setattr(cost, "_is_figure", lambda row: True)
    monkeypatch.setattr(growth, "CLASSES", (5, 1000))
    monkeypatch.setattr(growth, "SIZES", (32, 64))
    monkeypatch.setattr(growth, "RIVALS", (1, 10))
    assert main(["cost", "--quick", "--size", "32", "--output", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "cost.json").read_text())
    assert record["complete"]
    assert {row["method"] for row in record["time"]} == {"forward", "LayerGradCam", "DiffGradCAM"}
    targets = {row["figure"]: row for row in record["targets"]}
    assert targets["peak memory of LayerGradCam there, to ours"]["value"] == pytest.approx(80 / 10.4, rel=1e-5)
    assert targets["peak memory, resnet50, batch 32, late layer, to a bare forward"]["reached"]
    assert targets["importing captum_diffcam, to importing captum.attr"]["value"] == 2.0
    assert not targets["importing captum_diffcam, to importing captum.attr"]["reached"]
    late = [row for row in record["time"] if row["method"] == "DiffGradCAM" and row["layer"] == "late"]
    figure = targets["time, geometric mean over models, late layer, to LayerGradCam"]
    assert figure["value"] == pytest.approx(late[0]["to_grad_cam"]["median"])
    assert {row["grows"] for row in record["growth"]} == {"classes", "size", "contrast", "rivals"}
    assert (tmp_path / "cost.png").stat().st_size > 10_000
    printed = capsys.readouterr()
    assert max(map(len, printed.out.splitlines())) <= 100
    assert "pytorch-grad-cam cannot be imported (extra 'peers') and is left out" in printed.err
