"""The benchmark of attacks as a command."""

from __future__ import annotations

import json

import pytest
from small_models import TINY

from benchmarks.__main__ import main
from benchmarks.attacks import run as attacks
from benchmarks.attacks import why
from benchmarks.attacks.why import Case
from benchmarks.common.stored import Stored


@pytest.fixture
def command(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(attacks, "chosen_settings", lambda args, stored: {"tiny": TINY})
    monkeypatch.setattr(attacks, "SETTINGS", ("tiny",))
    monkeypatch.setattr(why, "planned", lambda seeds, quick: [])

    def run(*options):
        where = ["--output", str(tmp_path / "out"), "--models", str(tmp_path / "models")]
        code = main(["attacks", "--quick", *options, *where])
        return code, json.loads((tmp_path / "out" / "attacks.json").read_text()), capsys.readouterr().out

    return run


def test_a_run(command, tmp_path):
    code, record, printed = command()
    assert code == 0
    assert not record["complete"]
    assert record["command"].startswith("python -m benchmarks attacks --quick")
    assert [point["attack"] for point in record["points"]] == ["none", "SHAM, true class"]
    assert record["left_out"] == []
    assert record["rule"]["chosen"] == "logsumexp"
    for target in record["targets"]:
        assert target["reached"] == (target["value"] >= float(target["bound"].removeprefix(">= ")))
    assert "the rule" in printed
    assert (tmp_path / "out" / "frontier.png").stat().st_size > 0
    methods = len(record["points"][0]["methods"])
    assert (tmp_path / "out" / "points.csv").read_text().count("\n") == 1 + 2 * methods
    assert not (tmp_path / "out" / "unfinished").exists()


def test_a_run_that_is_out_of_time_goes_on(command, monkeypatch, tmp_path):
    now = iter([0.0, 0.0, 61.0])
    monkeypatch.setattr("time.monotonic", lambda: next(now))
    code, record, printed = command("--minutes", "1")
    assert code == 0
    assert len(record["points"]) == 1
    (left,) = record["left_out"]
    assert "SHAM, true class" in left
    assert "No time was left for 1 of 2 points" in printed
    monkeypatch.undo()


def test_the_reason(tmp_path):
    case = why.measure(Case(20, "one cell", 0), Stored(tmp_path), quick=True)
    honest, *forged = case["points"]
    assert (honest["weight"], honest["predictions"]["kept"]) == (0.0, 1.0)
    assert [point["weight"] for point in forged] == sorted({point["weight"] for point in forged})
    for point in case["points"]:
        assert set(point["methods"]) == {"Grad-CAM", "logsumexp", "mean", "equivariant part", "occlusion"}
        numbers = point["methods"]["mean"]
        # Halves of the same size.
        assert numbers["hoax"] == pytest.approx((numbers["hoax_over"] + numbers["hoax_beside"]) / 2, abs=1e-6)
    best = max(point["methods"]["Grad-CAM"]["hoax"] for point in forged)
    (alone,) = why.rows_at_equal_damage([case], 1.0)
    assert (alone["size"], alone["receptive_field"], alone["seeds"]) == (20, "one cell", 1)
    assert alone["methods"]["Grad-CAM"]["hoax"] == {"mean": best}
    (twice,) = why.rows_at_equal_damage([case, {**case, "seed": 1}], 1.0)
    assert twice["seeds"] == 2
    assert twice["methods"]["Grad-CAM"]["hoax"] == pytest.approx({"mean": best, "low": best, "high": best})
    sizes = [case.size for case in why.planned([0, 1], quick=False)]
    assert set(why.SIZES) <= set(sizes)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--model", "resnet18"], "--model: needs --data"),
        (["--weights", "DEFAULT"], "--weights, --layer, --data: are those of --model"),
        (["--model", "resnet18", "--data", "nowhere"], "--data: 'nowhere' is no folder with a folder of images"),
        (["--seeds", "0"], "--seeds: got '0'"),
        (["--cutouts", "nowhere"], "--cutouts: there are 0 fitting pictures in 'nowhere'"),
        (["--fashion", "nowhere"], "--fashion: there is no t10k-labels-idx1-ubyte in 'nowhere'"),
    ],
)
def test_what_cannot_be_done_is_one_line(options, said, tmp_path, capsys):
    assert main(["attacks", *options, "--output", str(tmp_path)]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert said in errors[-1]
