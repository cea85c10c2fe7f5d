"""What importing the package brings with it, and where private names of other libraries are used.

Which file may import which other is written in pyproject.toml and checked by ``lint-imports``.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import torch
from torch import nn

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


def private_names(path: Path) -> set[str]:
    """Return the private names of Captum and PyTorch that a file uses."""
    of_torch = {name for kind in (nn.Module(), torch.Tensor) for name in dir(kind) if re.match(r"_[a-z]", name)}
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Attribute):
            names |= {ast.unparse(node)} | ({f"torch.{node.attr}"} if node.attr in of_torch else set())
        elif isinstance(node, ast.Constant) and node.value in of_torch:
            names.add(f"torch.{node.value}")  # of getattr
    return {name for name in names if re.match(r"(captum|torch)\.(\w+\.)*_[a-z]", name, flags=re.IGNORECASE)}


def test_one_file_at_most_uses_private_names_of_other_libraries():
    files = {path.name: names for path in (ROOT / "captum_diffcam").rglob("*.py") if (names := private_names(path))}
    assert len(files) <= 1, files


def test_the_package_works_without_torch_jit():
    """PyTorch is going to drop TorchScript. Two of its functions stay here, because PyTorch's own modules call them."""
    code = """
import sys, torch, types, captum.attr, captum.metrics
for name in [name for name in sys.modules if name.startswith("torch.jit")]:
    sys.modules[name] = None
torch.jit = types.SimpleNamespace(is_scripting=lambda: False, is_tracing=lambda: False)
import captum_diffcam
from torch import nn
model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)).eval()
images = torch.rand(2, 3, 8, 8)
layer = captum_diffcam.last_spatial_layer(model, images)
print(*captum_diffcam.LayerDiffGradCam(model, layer.layer).attribute(images, target=1).shape)
"""
    assert output_of(code) == "2 1 6 6"


def test_every_benchmark_has_a_folder():
    folders = {path.parent.name for path in (ROOT / "benchmarks").glob("*/__init__.py")}
    assert folders == {"common", *BENCHMARKS}
