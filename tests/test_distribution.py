"""What is shipped: the wheel is the package and nothing else, the sdist is what is tracked and nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PYPROJECT = (ROOT / "pyproject.toml").read_text()
(VERSION,) = re.findall(r'^version = "(.+)"$', PYPROJECT, flags=re.MULTILINE)
BUILD = "import sys; from hatchling.build import build_sdist, build_wheel; build_sdist({0!r}); build_wheel({0!r})"


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both, built without an environment of their own, which would need a network."""
    output = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-c", BUILD.format(str(output))], cwd=ROOT, check=True, capture_output=True)
    return output


def test_the_wheel_is_the_package(dist):
    with zipfile.ZipFile(next(dist.glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
        metadata = Parser().parsestr(wheel.read(f"captum_diffcam-{VERSION}.dist-info/METADATA").decode())
    of_package = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "captum_diffcam").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    about = {
        f"captum_diffcam-{VERSION}.dist-info/{name}" for name in ("METADATA", "RECORD", "WHEEL", "licenses/LICENSE")
    }
    assert names == of_package | about
    assert "captum_diffcam/py.typed" in names
    needed = {requirement for requirement in metadata.get_all("Requires-Dist") if "extra ==" not in requirement}
    assert {re.match(r"[\w-]+", requirement).group() for requirement in needed} == {
        *("captum", "matplotlib", "numpy", "torch", "tqdm"),
    }


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="only a clone knows what is tracked")
def test_the_sdist_is_what_is_tracked(dist):
    with tarfile.open(next(dist.glob("*.tar.gz"))) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    # Also what is new and not yet added, as long as it is not ignored.
    list_files = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    tracked = subprocess.run(list_files, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    assert names == {name for name in tracked if (ROOT / name).exists()} | {"PKG-INFO"}


@pytest.mark.parametrize(("file", "line"), [("CITATION.cff", f"version: {VERSION}"), ("CHANGELOG.md", f"## {VERSION}")])
def test_the_version_is_told_everywhere(file, line):
    assert line in (ROOT / file).read_text().splitlines()
