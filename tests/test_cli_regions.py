"""`captum-diffcam explain --regions`: how much of each map lies in boxes and masks of the image files."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from captum_diffcam.cli import main

MODULE = """
import torch
from torch import nn

def small():
    torch.manual_seed(3)
    conv, pool = nn.Conv2d(3, 6, 8, stride=8), nn.AdaptiveAvgPool2d(1)
    return nn.Sequential(conv, nn.ReLU(), pool, nn.Flatten(), nn.Linear(6, 4))
"""


@pytest.fixture
def folder(user_folder):
    """A user's module, and a wide image of which the model sees the square in the middle."""
    (user_folder / "usermodels.py").write_text(MODULE)
    (user_folder / "images").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (64, 128, 3), dtype=np.uint8)
    for name in ("a.png", "b.png"):
        Image.fromarray(pixels).save(user_folder / "images" / name)
    return user_folder


def explain(table, *more):
    with open("regions.csv", "w", encoding="utf-8") as file:
        file.write(table)
    options = ["--images", "images", "--size", "32", "--workers", "0", "--regions", "regions.csv"]
    return main(["explain", "--model", "usermodels:small", *options, *more])


def test_boxes_and_masks(folder):
    """The map has 4 x 4 positions of 16 x 16 pixels each, and covers the pixels from 32 to 96 of a row."""
    mask = np.zeros((64, 128), np.uint8)
    mask[:32, 48:64] = 255  # two positions
    Image.fromarray(mask).save(folder / "mask.png")
    table = "file,name,x0,y0,x1,y1,mask\n"
    table += "a.png,left,32,0,64,64,\na.png,most of it,0,0,96,64,\na.png,unseen,0,0,32,64,\na.png,sign,,,,,mask.png\n"
    assert explain(table, "--method", "hirescam", "--contrast", "all", "--contrast", "2", "--target", "1") == 0
    first, second = json.loads((folder / "report" / "manifest.json").read_text())["images"]
    stored = np.load(folder / "report" / first["maps"])
    for entries, maps in ((first["contrasts"], stored["maps"]), (first["rivals"], stored["rival_maps"])):
        assert len(entries) == len(maps) > 1
        for entry, single in zip(entries, maps, strict=True):
            expected = {
                "left": float(single[:, :2].sum()),
                "most of it": float(single.sum()),
                "unseen": 0.0,
                "sign": float(single[:2, 1].sum()),
            }
            # The seen part is measured, to a fraction of a pixel.
            assert entry["evidence"] == pytest.approx(expected, abs=0.02 * float(np.abs(single).sum()))
    assert "evidence" not in second["contrasts"][0]
    page = (folder / "report" / "index.html").read_text()
    score, evidence = first["contrasts"][0]["score"], first["contrasts"][0]["evidence"]
    for name, value in evidence.items():
        assert f"{name} {value:+.2g}" in page
    assert f"of {score:.2g}<" in page


@pytest.mark.parametrize(
    "table",
    [
        "file,name,x0,y0,x1,y1\nc.png,left,0,0,1,1\n",
        "file,name,x0,y0,x1\na.png,left,0,0,1\n",
        "file,name,x0,y0,x1,y1\na.png,left,0,0,x,1\n",
        "file,name,x0,y0,x1,y1\na.png,left,5,0,1,1\n",
        "file,name,x0,y0,x1,y1\na.png,,0,0,1,1\n",
        "file,name,mask\na.png,left,none.png\n",
        "file,name,mask\na.png,left,regions.csv\n",
        "file,name,mask\na.png,left,small.png\n",
    ],
)
def test_bad_tables(folder, table, capsys):
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(folder / "small.png")
    assert explain(table) == 2
    assert "--regions" in capsys.readouterr().err


def test_a_table_that_cannot_be_read(folder, capsys):
    options = ["--images", "images", "--size", "32", "--workers", "0", "--regions", "none.csv"]
    assert main(["explain", "--model", "usermodels:small", *options]) == 2
    assert "--regions" in capsys.readouterr().err
