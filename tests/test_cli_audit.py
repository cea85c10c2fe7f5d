"""`captum-diffcam audit` from the outside: what it writes, says and returns."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from captum_diffcam.audit import AuditReport, audit
from captum_diffcam.cli import main

MODULE = """
import torch
from torch import nn

def small():
    torch.manual_seed(3)
    head = nn.Linear(6, 5)
    nn.init.normal_(head.weight, std=8.0)
    return nn.Sequential(nn.Conv2d(3, 6, 5, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
"""


@pytest.fixture
def folder(user_folder):
    """The current folder of a user: a module of theirs and a folder of 16 images."""
    (user_folder / "usermodels.py").write_text(MODULE)
    rng = np.random.default_rng(0)
    (user_folder / "images").mkdir()
    for number in range(16):
        pixels = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1)
        Image.fromarray(pixels).save(user_folder / "images" / f"{number:02}.png")
    (user_folder / "names.txt").write_text("ant\nbee\ncow\ndog\nelk\n")
    return user_folder


def run(*arguments):
    options = ["--images", "images", "--model", "usermodels:small", "--size", "32", "--workers", "0"]
    return main(["audit", *options, *map(str, arguments)])


def saved(folder, out="audit"):
    return json.loads((folder / out / "audit.json").read_text())


def library_report(folder, **options):
    import usermodels

    mean, std = (torch.tensor(values)[:, None, None] for values in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    pixels = [np.array(Image.open(path), dtype=np.float32) / 255 for path in sorted((folder / "images").glob("*.png"))]
    images = torch.stack([(torch.tensor(image).permute(2, 0, 1) - mean) / std for image in pixels])
    return audit(usermodels.small().eval(), images, **options)


def test_the_report_is_that_of_the_library(folder, capsys):
    code = run("--classes", "names.txt", "--seed", 7, "--alpha", 0.2, "--layer", "0", "--batch-size", 5)
    record = saved(folder)
    names = ["ant", "bee", "cow", "dog", "elk"]
    expected = library_report(folder, layer="0", seed=7, alpha=0.2, class_names=names).as_dict()
    assert (record["verdict"], record["seed"], record["alpha"], record["images"]) == (expected["verdict"], 7, 0.2, 16)
    assert code == {"supported": 0, "contradicted": 1, "undecided": 3, "mixed": 4}[expected["verdict"]]
    assert record["scope"] == expected["scope"]
    for name, result in expected["methods"].items():
        for measure, estimate in result["estimates"].items():
            value = record["methods"][name]["estimates"][measure]["value"]
            assert value == pytest.approx(estimate["value"], abs=1e-3, nan_ok=True)
    printed = capsys.readouterr().out
    assert record["verdict"] in printed
    assert all(name in printed for name in record["methods"])
    assert {path.name for path in (folder / "audit").iterdir()} == {"audit.json", "audit.html"}


@pytest.mark.parametrize(("verdict", "code"), [("supported", 0), ("contradicted", 1), ("undecided", 3), ("mixed", 4)])
def test_the_exit_code_is_the_verdict(folder, monkeypatch, verdict, code):
    monkeypatch.setattr(AuditReport, "verdict", verdict)
    assert run("--seed", 0, "--out", "mine") == code
    assert saved(folder, "mine")["verdict"] == verdict


def test_fewer_than_16_images_are_refused(folder, capsys):
    """An image that cannot be read does not count."""
    (folder / "images" / "05.png").write_bytes(b"no image at all")
    assert run() == 2
    errors = capsys.readouterr().err
    assert "05.png" in errors
    assert "images" in errors.splitlines()[-1]
    assert "15" in errors.splitlines()[-1]
    assert not (folder / "audit").exists()


def test_no_readable_image_is_refused(folder, capsys):
    for path in (folder / "images").iterdir():
        path.write_bytes(b"no image at all")
    assert run() == 2
    assert "00.png" in capsys.readouterr().err


def test_unreadable_images_are_left_out(folder, capsys):
    (folder / "images" / "broken.png").write_bytes(b"no image at all")
    assert run("--seed", 0) in (0, 1, 3, 4)
    assert "broken.png" in capsys.readouterr().err
    assert saved(folder)["total_images"] == 16


WRONG = {"--alpha": "0.7", "--seed": "-1", "--layer": "9", "--classes": "images/00.png", "--contrast": "1"}


@pytest.mark.parametrize("option", WRONG)
def test_wrong_use_is_one_sentence_and_exit_code_2(folder, option, capsys):
    assert run(option, WRONG[option]) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1
    assert option.strip("-") in errors[0]
    assert not (folder / "audit").exists()


def test_a_folder_that_is_not_empty_needs_overwrite(folder, capsys):
    (folder / "audit").mkdir()
    (folder / "audit" / "mine.txt").write_text("keep me")
    assert run("--seed", 0) == 2
    assert "--out" in capsys.readouterr().err
    assert run("--seed", 0, "--overwrite") != 2
    assert (folder / "audit" / "mine.txt").read_text() == "keep me"


def test_help_names_the_exit_codes(capsys):
    with pytest.raises(SystemExit) as end:
        main(["audit", "--help"])
    assert end.value.code == 0
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("supported", "contradicted", "undecided", "mixed", "--seed", "--alpha"))
