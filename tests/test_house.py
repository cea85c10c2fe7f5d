"""What importing the package brings with it, and where private names of other libraries are used.

Which file may import which other is written in pyproject.toml and checked by ``lint-imports``.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import captum_diffcam
from benchmarks.__main__ import BENCHMARKS

ROOT = Path(captum_diffcam.__file__).parent.parent


def output_of(code: str) -> str:
    """Run code in a process of its own and return what it prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_the_package_imports_nothing_slow():
    slow = {"torchvision", "scipy.stats", "sklearn", "skimage", "PIL", "timm", "transformers", "pandas"}
    # Captum itself imports some of them.
    code = (
        "import captum.attr, sys; before = set(sys.modules); import captum_diffcam; print(*set(sys.modules) - before)"
    )
    assert slow & set(output_of(code).split()) == set()


def test_submodules_and_types_are_reachable_from_the_package():
    code = "import captum_diffcam as c; print(c.figures.show_maps, c.metrics.pearson, c.attacks.fool, c.audit.audit)"
    assert output_of(code).count("<function") == 4
    for name in captum_diffcam.__all__:
        assert hasattr(captum_diffcam, name), name


def test_every_benchmark_has_a_folder():
    folders = {path.parent.name for path in (ROOT / "benchmarks").glob("*/__init__.py")}
    assert folders == {"common", *BENCHMARKS}
