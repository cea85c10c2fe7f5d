"""How the house is built: imports point down, the package stays small, its extras stay extras."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import captum_diffcam.sham
import pytest

import benchmarks
import captum_diffcam
from benchmarks.__main__ import BENCHMARKS

PACKAGE = Path(captum_diffcam.__file__).parent

# What each module may import of its own package and of third parties. Formulas know no Captum and no model.
ALLOWED = {
    "_warnings": ({"captum", "torch"}, set()),
    "_arguments": ({"numpy", "torch"}, set()),
    "logits": ({"numpy", "torch"}, {"_arguments", "_warnings"}),
    "contrast": ({"numpy", "torch"}, {"_arguments"}),
    "score": ({"torch"}, {"contrast", "logits"}),
    "weighting": ({"torch"}, set()),
    "layouts": ({"torch"}, {"_arguments"}),
    "metrics": ({"torch"}, {"logits"}),
    "rivals": ({"torch"}, set()),
    "shifts": ({"torch"}, set()),
    "results": ({"torch"}, set()),
    "pictures": ({"matplotlib", "numpy", "torch"}, {"_arguments", "results"}),
    "_sheet": ({"matplotlib", "numpy", "torch"}, {"pictures"}),
    "figures": ({"matplotlib", "numpy", "torch"}, {"pictures", "_sheet", "results"}),
    "_eager": ({"torch"}, set()),
    "_model_state": ({"torch"}, set()),
    "_watch": ({"torch"}, set()),
    "_taps": ({"torch"}, {"_arguments", "_watch"}),
    "_capture": ({"captum", "torch"}, {"_arguments", "_eager", "_model_state", "_taps", "_watch"}),
    "_layer_maps": ({"captum", "torch"}, {"_arguments", "_capture", "_warnings", "layouts", "logits", "results"}),
    "spatial_layers": (
        {"torch"},
        {"_arguments", "_capture", "_eager", "_model_state", "_taps", "layouts", "logits"},
    ),
    "attribution": (
        {"captum", "torch"},
        {"_arguments", "_capture", "_layer_maps", "contrast", "logits", "results", "rivals", "score", "weighting"},
    ),
    "plus_plus": (set(), {"attribution", "weighting"}),
    "input_space": ({"captum", "torch"}, {"_arguments", "logits"}),
    "equivariant": (
        {"captum", "numpy", "torch", "tqdm"},
        {"_arguments", "_model_state", "contrast", "logits", "results", "shifts"},
    ),
    "guided": (
        {"captum", "torch"},
        {"_arguments", "_capture", "_model_state", "attribution", "contrast", "input_space", "logits", "score"},
    ),
    "sham/batches": ({"torch"}, set()),
    "sham/forgery": ({"torch"}, set()),
    "sham/methods": ({"captum", "torch"}, {"attribution", "logits"}),
    "sham/hoax": ({"torch"}, {"metrics"}),
    "sham/map_losses": ({"torch"}, {"metrics"}),
    "sham/witness": ({"captum", "torch", "tqdm"}, {"score"}),
    "sham/statistics": ({"torch"}, set()),
    "sham/tilings": ({"torch"}, set()),
    "sham/portions": ({"torch"}, set()),
    "sham/evidence": ({"torch"}, {"sham/statistics"}),
    "sham/report": ({"matplotlib", "torch"}, {"_sheet", "figures", "metrics", "pictures", "sham/evidence"}),
    "sham/inquiry": (
        {"torch"},
        {"logits", "score", "shifts"} | {f"sham/{m}" for m in ("evidence", "methods", "portions", "report", "tilings")},
    ),
    "sham/inject": ({"torch"}, {"sham/forgery"}),
    "sham/fooling": (
        {"captum", "torch", "tqdm"},
        {"_arguments", "logits", *(f"sham/{m}" for m in ("batches", "forgery", "hoax", "map_losses", "methods"))},
    ),
    "sham/audit": (
        {"captum", "torch", "tqdm"},
        {"_arguments", "attribution"}
        | {f"sham/{m}" for m in ("forgery", "inquiry", "methods", "portions", "report", "tilings")},
    ),
    "sham/__init__": (
        set(),
        {
            "metrics",
            *(f"sham/{m}" for m in ("audit", "evidence", "fooling", "forgery", "hoax", "inject", "methods", "report")),
        }
        | {"sham/witness"},
    ),
    # The classes of attribution know nothing of attacks.
    "__init__": (
        set(),
        {"attribution", "contrast", "equivariant", "guided", "input_space", "layouts", "logits", "plus_plus"}
        | {"score", "spatial_layers"},
    ),
}


BENCH = Path(benchmarks.__file__).parent
BENCH_FILES = sorted(BENCH.rglob("*.py"))
PUBLIC = tuple(f"captum_diffcam{inner}" for inner in ("", ".figures", ".metrics", ".shifts", ".sham"))
"""What benchmarks may use of the library."""


def imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names.add(node.module)
    return names


def test_every_module_is_listed():
    assert {path.relative_to(PACKAGE).with_suffix("").as_posix() for path in PACKAGE.rglob("*.py")} == set(ALLOWED)


@pytest.mark.parametrize("module", ALLOWED)
def test_imports_point_down(module):
    third_parties, siblings = ALLOWED[module]
    found = imports(PACKAGE / f"{module}.py")
    ours = {
        name.removeprefix("captum_diffcam.").replace(".", "/") for name in found if name.startswith("captum_diffcam")
    }
    assert ours == siblings
    others = {name.partition(".")[0] for name in found if not name.startswith("captum_diffcam")}
    assert others - set(sys.stdlib_module_names) <= third_parties


def test_the_picture_of_the_house_is_true():
    """In CONTRIBUTING.md every module stands above what it imports."""
    picture = (PACKAGE.parent / "CONTRIBUTING.md").read_text().split("```")[5].splitlines()
    line_of = {name: number for number, line in enumerate(picture) for name in re.findall(r"([\w/]+)\.py\b", line)}
    assert set(ALLOWED) <= set(line_of)
    for module, (_, siblings) in ALLOWED.items():
        assert all(line_of[module] < line_of[sibling] for sibling in siblings), module


def test_only_one_module_uses_what_is_private_to_captum():
    users = [path.name for path in PACKAGE.rglob("*.py") if any(n.startswith("captum._") for n in imports(path))]
    assert users == ["_capture.py"]


def test_modules_stay_short():
    """Docstrings are more than half of the longest."""
    assert max(len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.py")) <= 280


def test_importing_the_package_imports_no_extra():
    extras = ("torchvision", "scipy", "skimage", "captum_diffcam.figures", "captum_diffcam.sham")
    code = f"import captum_diffcam, sys; print([m for m in {extras} if m in sys.modules])"
    alone = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert alone.stdout.strip() == "[]"


def test_the_public_names():
    assert captum_diffcam.__all__ == [
        "ContrastScore",
        "EquivariantPart",
        "GuidedDiffGradCam",
        "InputAttribution",
        "LayerDiffGradCam",
        "LayerDiffGradCamPlusPlus",
        "last_spatial_layer",
        "predicted",
        "spatial_layers",
        "top_rivals",
        "vit_layout",
    ]
    assert all(getattr(captum_diffcam, name).__doc__ for name in captum_diffcam.__all__)
    assert captum_diffcam.sham.__all__ == [
        "MOST_EXCESS",
        "AuditReport",
        "CamMethod",
        "Evidence",
        "ManipulatedModel",
        "audit",
        "cam_entropy",
        "fool",
        "hoax_like",
        "hoax_map",
        "inject_hoax",
        "occlusion_witness",
    ]
    assert all(getattr(captum_diffcam.sham, name).__doc__ for name in captum_diffcam.sham.__all__)


# Benchmarks: a folder for each question, and one for what several of them need.


def within(path: Path) -> set[str]:
    """The modules of benchmarks that a file imports; of ``from package import module`` the module."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                is_module = (BENCH.parent / inner.replace(".", "/")).with_suffix(".py").exists()
                found.add(inner if is_module else node.module)
    return {name for name in found if name.startswith("benchmarks")}


def test_every_question_has_a_folder():
    assert {path.name for path in BENCH.glob("*.py")} == {"__init__.py", "__main__.py"}
    assert {path.parent.name for path in BENCH_FILES if path.parent != BENCH} == {"common", *BENCHMARKS}


@pytest.mark.parametrize("path", BENCH_FILES, ids=lambda path: path.relative_to(BENCH).as_posix())
def test_a_question_imports_itself_and_what_is_common(path):
    folder = path.parent.name
    allowed = {"common"} if folder == "common" else {"common", folder}
    if path.name == "__main__.py":
        allowed = {"common", *BENCHMARKS}
    for name in within(path):
        assert name == "benchmarks" or name.split(".")[1] in allowed, name
    library = {name for name in imports(path) if name.startswith("captum_diffcam")}
    assert library <= set(PUBLIC)


def test_files_of_benchmarks_import_one_way():
    """Taking away files that import nothing of what is left, again and again, leaves nothing."""
    uses = {".".join(path.relative_to(BENCH.parent).with_suffix("").parts): within(path) for path in BENCH_FILES}
    while uses:
        free = [name for name, used in uses.items() if not used & (set(uses) - {name})]
        assert free, f"these import each other: {sorted(uses)}"
        for name in free:
            del uses[name]
