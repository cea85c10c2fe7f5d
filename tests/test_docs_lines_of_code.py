"""The scripts of docs/lines_of_code do their job, and none of another library is shorter than ours."""

from __future__ import annotations

import importlib.util
import runpy
import shlex
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.models import ResNet18_Weights, VisionTransformer, resnet18

from captum_diffcam.cli import main

PATH = Path(__file__).parent.parent / "docs" / "_ext" / "lines_of_code.py"
pytest.importorskip("docutils")  # of the extra "docs"; the counter is a directive of Sphinx, too
_spec = importlib.util.spec_from_file_location("lines_of_code", PATH)
lines = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(lines)

OURS = "captum_diffcam"
SCRIPTS = [(job, library, path) for job in lines.JOBS for library, path in lines.scripts(job).items()]


def as_array(maps):
    """Maps as an array, whatever a library returns them in."""
    if isinstance(maps, Mapping):
        maps = next(iter(maps.values()))
    if isinstance(maps, (list, tuple)):
        maps = maps[0]
    return maps.detach().numpy() if isinstance(maps, Tensor) else np.asarray(maps)


@pytest.fixture(scope="module")
def given():
    """What every script has: a model, an image as the model takes it, the photograph, and the preprocessing."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    photo = coarse.resize((320, 240), Image.Resampling.BICUBIC)
    preprocess = ResNet18_Weights.DEFAULT.transforms()
    model = resnet18().eval()
    vit = VisionTransformer(224, 16, 4, 2, 32, 64).eval()
    nn.init.normal_(vit.heads.head.weight)
    return {"model": model, "vit": vit, "photo": photo, "preprocess": preprocess, "images": preprocess(photo)[None]}


@pytest.fixture
def run(given, tmp_path, monkeypatch):
    """Run a script in an empty folder, and return its variables."""
    monkeypatch.chdir(tmp_path)

    def run(job, library):
        pytest.importorskip(library)
        path = lines.scripts(job)[library]
        names = {**given, "model": given["vit" if job == "vit" else "model"]}
        if path.suffix == ".sh":
            program, *arguments = shlex.split(path.read_text())
            assert program == "captum-diffcam"
            assert main([*arguments, "--workers", "0"]) == 0
            return {}
        return runpy.run_path(str(path), {name: value for name, value in names.items() if name != "vit"})

    return run


def of(job):
    return [library for name, library, _ in SCRIPTS if name == job]


@pytest.mark.parametrize("library", of("overlay"))
def test_overlay(run, tmp_path, library):
    run("overlay", library)
    path = next(tmp_path.rglob("*overlay*.png"))
    with Image.open(path) as picture:
        assert len(np.unique(np.asarray(picture).reshape(-1, 3 if picture.mode == "RGB" else 4), axis=0)) > 100


@pytest.mark.parametrize("library", of("a_not_b"))
def test_a_not_b(run, library):
    """All of them explain the same difference; two libraries keep its positive part."""
    ours, maps = (as_array(run("a_not_b", name)["maps"]).reshape(-1) for name in (OURS, library))
    if library == "pytorch_grad_cam":
        # In the size of the input, of which the layer has the 32nd part.
        maps = maps.reshape(7, 32, 7, 32).mean(axis=(1, 3)).reshape(-1)
    assert ours.max() > 0
    if library in ("captum_diffcam", "captum"):
        np.testing.assert_allclose(maps, ours, rtol=1e-3, atol=1e-5 * abs(ours).max())
    else:
        assert np.corrcoef(maps, ours.clip(0))[0, 1] > 0.95


@pytest.mark.parametrize("job", ["unknown_layer", "vit"])
@pytest.mark.parametrize("library", lines.LIBRARIES)
def test_maps_without_a_layer_and_of_tokens(run, job, library):
    if library not in of(job):
        pytest.skip("has nothing for this job")
    maps = as_array(run(job, library)["maps"])
    assert maps.shape[-2:] in ((7, 7), (14, 14), (224, 224))
    assert np.isfinite(maps).all()
    assert maps.std() > 0


@pytest.mark.parametrize("library", of("heatmap"))
def test_heatmap(run, library):
    heatmap = run("heatmap", library)["heatmap"]
    assert isinstance(heatmap, np.ndarray)
    assert heatmap.shape[-2:] == (224, 224)
    assert heatmap.min() >= 0
    assert 0.8 < heatmap.max() <= 1


@pytest.mark.parametrize("library", of("report"))
def test_report(run, given, tmp_path, library):
    (tmp_path / "photos").mkdir()
    for name in ("first", "second"):
        given["photo"].save(tmp_path / "photos" / f"{name}.jpg")
    torch.save(given["model"].state_dict(), tmp_path / "mine.pt")
    run("report", library)
    pictures = [str(path) for path in (tmp_path / "report").rglob("*.png")]
    assert all(any(name in picture for picture in pictures) for name in ("first", "second"))


@pytest.mark.parametrize("job", lines.JOBS)
def test_no_other_library_is_shorter(job):
    counts = {library: lines.count(path) for library, path in lines.scripts(job).items()}
    assert counts[OURS] == min(counts.values())


def test_every_script_belongs_to_a_job_and_a_library():
    assert {path for *_, path in SCRIPTS} == {path for job in lines.JOBS for path in (lines.SCRIPTS / job).iterdir()}


def test_lines_are_statements(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("# comment\n\nimport os  # one\n\nx = [\n    1,\n    2,\n]  # two\nfor y in x:\n    print(y)\n")
    assert lines.count(script) == 4
