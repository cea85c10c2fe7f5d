"""The layer that is found for a model, against the one that is expected."""

from __future__ import annotations

import json

import pytest

from benchmarks.__main__ import main
from benchmarks.zoo import choosing, expected_layers
from benchmarks.zoo.choosing import choose
from benchmarks.zoo.expected_layers import EXPECTED, Expected, expected_layer
from benchmarks.zoo.huggingface_models import ARCHITECTURES
from benchmarks.zoo.tables import choosing_rows, choosing_table
from benchmarks.zoo.timm_models import FAMILIES
from benchmarks.zoo.verdict import verdict


def test_a_layer_of_torchvision_at_two_sizes():
    rows = choose("squeezenet1_1")
    assert [(row["layer"], row["grid"], row["result"]) for row in rows] == [
        ("classifier.2", [7, 7], "right"),
        ("classifier.2", [7, 11], "right"),
    ]


@pytest.mark.parametrize(
    ("expected", "result"),
    [
        (Expected("classifier.2", grids={(3, 128, 128): (7, 7), (3, 128, 192): (7, 11)}), ["right", "right"]),
        (Expected("classifier.*", 18), ["wrong", "wrong"]),  # 128 / 18 is 7.1: eight rows
        (Expected("classifier.*", 19), ["right", "right"]),
        (Expected("features", grids={(3, 128, 128): (7, 7)}), ["wrong", "wrong"]),
        (expected_layers.REFUSED, ["wrong", "wrong"]),
    ],
)
def test_what_differs_from_the_table_is_wrong(monkeypatch, expected, result):
    monkeypatch.setattr(choosing, "expected_layer", lambda name: expected)
    assert [row["result"] for row in choose("squeezenet1_1")] == result


def test_a_wrong_choice_fails_the_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(choosing, "expected_layer", lambda name: Expected("features", 32))
    command = ["zoo", "--part", "choosing", "--models", "squeezenet1_1", "--output", str(tmp_path)]
    assert main(command) == 2
    assert "squeezenet1_1" in capsys.readouterr().err
    record = json.loads((tmp_path / "choosing.json").read_text())
    assert not (tmp_path / "zoo.json").exists()
    assert [row["result"] for row in record["choosing"]] == ["wrong", "wrong"]
    header, first, _ = (tmp_path / "choosing.csv").read_text().splitlines()
    assert header == "model,input,layer,grid,expected,result"
    assert first == "squeezenet1_1,3x128x128,classifier.2,7x7,features 4x4,wrong"


def test_the_verdict_and_the_table():
    fields = {"input": [3, 8, 8], "layer": "a", "layout": "vit", "grid": [2, 2], "expected": "a 2x2"}

    def row(model, result):
        return {"model": model, **fields, "result": result}

    rows = [row("one", "right"), row("one", "right"), row("two", "refused")]
    first, second = verdict({"models": [], "choosing": rows})
    assert "1 of 2 models" in first
    assert "two" in second
    (wrong,) = verdict({"models": [], "choosing": [*rows, row("three", "wrong")]})
    assert "three" in wrong
    assert "two" in choosing_table(rows)
    assert choosing_rows(rows)[0] == ["one", "3x8x8", "a (vit)", "2x2", "a 2x2", "right"]


def test_every_model_is_in_the_table_and_no_line_is_idle():
    names = [*(f"timm/{name}" for name in FAMILIES), *(f"hf/{name}" for name in ARCHITECTURES)]
    used = {id(expected_layer(name)) for name in names}
    assert None not in map(expected_layer, names)
    for pattern, expected in EXPECTED.items():
        if "/" in pattern:
            assert id(expected) in used, pattern


@pytest.mark.parametrize("name", ["hf/vit", "hf/swin", "hf/gpt2", "hf/videomae", "hf/perceiver", "hf/yolos"])
def test_models_of_transformers(name):
    pytest.importorskip("transformers")
    results = [row["result"] for row in choose(name)]
    assert set(results) == ({"refused"} if name == "hf/perceiver" else {"right"})
