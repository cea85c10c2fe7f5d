"""The wheel holds the package and nothing else; the sdist holds what is tracked and nothing else."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

from captum_diffcam import __version__

ROOT = Path(__file__).parent.parent
BUILD = "import sys; from hatchling.build import build_sdist, build_wheel; build_sdist({0!r}); build_wheel({0!r})"


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build both in this environment, because one of their own would need a network."""
    output = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-c", BUILD.format(str(output))], cwd=ROOT, check=True, capture_output=True)
    return output


@pytest.fixture(scope="module")
def metadata(dist: Path) -> Message:
    with zipfile.ZipFile(next(dist.glob("*.whl"))) as wheel:
        return Parser().parsestr(wheel.read(f"captum_diffcam-{__version__}.dist-info/METADATA").decode())


def test_the_wheel_is_the_package(dist):
    with zipfile.ZipFile(next(dist.glob("*.whl"))) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    tracked = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "captum_diffcam").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert names == tracked
    assert "captum_diffcam/py.typed" in names


def test_the_library_itself_needs_no_extra(metadata):
    needed = [requirement for requirement in metadata.get_all("Requires-Dist") if "extra ==" not in requirement]
    assert not {"torchvision", "pillow", "scikit-image", "timm"} & {re.split(r"\W", name)[0] for name in needed}


def test_an_index_finds_every_file_that_the_readme_shows(metadata):
    description = metadata.get_payload()
    assert "LayerDiffGradCam" in description
    assert re.findall(r"\]\((?!https?:|#)[^)]+\)", description) == []


def test_links_of_the_readme_become_absolute():
    spec = importlib.util.spec_from_file_location("metadata_hook", ROOT / ".ci" / "metadata.py")
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    text = "![a map](docs/map.jpg)\n\n[Changelog](CHANGELOG.md), [Captum](https://captum.ai), [below](#limits)"
    assert hook.absolute_readme(text, "") == "Changelog, [Captum](https://captum.ai), [below](#limits)"
    assert hook.absolute_readme(text, "https://host/us") == (
        "![a map](https://host/us/raw/main/docs/map.jpg)\n\n"
        "[Changelog](https://host/us/blob/main/CHANGELOG.md), [Captum](https://captum.ai), [below](#limits)"
    )
    assert hook.project_urls("") == {}
    assert all(url.startswith("https://host/us") for url in hook.project_urls("https://host/us").values())


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="only a clone knows what is tracked")
def test_the_sdist_is_what_is_tracked(dist):
    with tarfile.open(next(dist.glob("*.tar.gz"))) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    # Also what is new and not yet added, as long as it is not ignored.
    list_files = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    tracked = subprocess.run(list_files, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    assert names == {name for name in tracked if (ROOT / name).exists()} | {"PKG-INFO"}


@pytest.mark.parametrize(
    ("file", "line"), [("CITATION.cff", f"version: {__version__}"), ("CHANGELOG.md", f"## {__version__}")]
)
def test_the_version_is_the_same_everywhere(file, line):
    assert line in (ROOT / file).read_text().splitlines()
