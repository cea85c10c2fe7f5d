"""The benchmark of attacks as a command."""

from __future__ import annotations

import json

import pytest
from small_models import TINY

from benchmarks.__main__ import main
from benchmarks.sham import run as sham
from benchmarks.sham.targets import reached


def test_a_run_with_its_targets(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sham, "chosen_settings", lambda args: [TINY])
    assert main(["sham", "--workers", "1", "--seeds", "2", "--output", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "sham.json").read_text())
    assert record["complete"]
    assert record["seeds"] == [0, 1]
    assert record["command"] == "python -m benchmarks sham --workers 1 --seeds 2"
    (setting,) = record["settings"]
    hoax = setting["attacks"]["SHAM, true class"]["methods"]["LayerGradCam"]["pearson_hoax"]
    assert hoax["low"] <= hoax["mean"] <= hoax["high"]
    for target in record["targets"]:
        sign, bound = target["bound"].split()
        met = target["value"] >= float(bound) if sign == ">=" else target["value"] <= float(bound)
        assert target["reached"] == met
    assert [target["figure"].partition(":")[0] for target in record["targets"]] == ["injection"] * 3 + ["SHAM"] * 4 + [
        "audit"
    ]
    assert record["targets"] == json.loads(json.dumps(reached(record["settings"])))
    printed = capsys.readouterr().out
    assert "tiny: correlation with the hoax" in printed
    for name in ("decisions.csv", "maps.csv", "audit.csv", "maps-1.png"):
        assert (tmp_path / name).stat().st_size > 0
    assert (tmp_path / "maps.csv").read_text().count("\n") == 1 + 12 * 14


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--model", "resnet18"], "--model: needs --data"),
        (["--weights", "DEFAULT"], "--weights, --layer: are those of --model"),
        (["--data", "nowhere"], "--data: there is no FashionMNIST/raw in 'nowhere'"),
        (["--model", "resnet18", "--data", "nowhere"], "--data: 'nowhere' is no folder with a folder of images"),
        (["--seeds", "0"], "--seeds: got '0'"),
    ],
)
def test_what_cannot_be_done_is_one_line(options, said, tmp_path, capsys):
    assert main(["sham", *options, "--output", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
