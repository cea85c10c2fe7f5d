"""The attacks of a model's owner as a study of the benchmark of attacks."""

from __future__ import annotations

import csv
import json

import pytest
import torch

from benchmarks.__main__ import main
from benchmarks.attacks import owner
from benchmarks.common import textile


def test_a_quick_run(tmp_path, capsys):
    assert main(["attacks", "--studies", "owner", "--quick", "--output", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "owner.json").read_text())
    assert not record["complete"]
    assert not (tmp_path / "attacks.json").exists()
    points = {point["attack"]: point for point in record["points"]}
    shifted, destroyed = points[owner.SHIFTED], points[owner.DESTROYED]
    assert shifted["exact"]
    assert shifted["largest_change"] < 1e-6
    assert shifted["methods"][owner.OCCLUSION]["clean"] == pytest.approx(1, abs=1e-4)
    assert shifted["methods"][owner.DIFF]["clean"] < 0.9
    assert not destroyed["exact"]
    with (tmp_path / "owner.csv").open() as file:
        assert len(list(csv.reader(file))) == 1 + sum(len(point["methods"]) for point in points.values())
    assert (tmp_path / "owner.png").exists()
    assert owner.OCCLUSION in capsys.readouterr().out


def test_own_models_have_no_such_study(tmp_path):
    assert main(["attacks", "--studies", "owner", "--model", "resnet18", "--output", str(tmp_path)]) == 2


def test_a_row_is_the_mean_over_seeds_and_names_the_best_map():
    def point(seed, grad_cam, diff, after):
        numbers = {name: {"clean": value, "invariant": False} for name, value in (("a", grad_cam), ("b", diff))}
        fields = {"setting": "s", "attack": "x", "exact": False, "accuracy": 0.9, "accuracy_after": after}
        return {**fields, "seed": seed, "methods": numbers}

    (row,) = owner.rows_of([point(0, 0.1, 0.5, 0.8), point(1, 0.3, 0.7, 0.7)])
    assert row["seeds"] == 2
    assert row["methods"]["a"]["clean"]["mean"] == pytest.approx(0.2)
    assert row["best"]["name"] == "b"
    assert row["best"]["clean"]["mean"] == pytest.approx(0.6)
    assert row["cost"]["mean"] == pytest.approx(15)


def test_textile_images_are_split_without_overlap(tmp_path):
    from PIL import Image

    for index, name in enumerate(textile.CLASSES):
        (tmp_path / name).mkdir()
        for number in range(4):
            Image.new("RGB", (250, 250), (60 * index, 20 * number, 0)).save(tmp_path / name / f"{number}.jpg")
    (images, labels), (others, other_labels) = textile.textile_images(tmp_path, 0, 8)
    assert images.shape == (8, 3, 112, 112)
    assert others.shape == (4, 3, 112, 112)
    assert torch.bincount(torch.cat([labels, other_labels])).tolist() == [4, 4, 4]
    assert len(torch.cat([images, others])[:, :, 50, 50].unique(dim=0)) == 12
