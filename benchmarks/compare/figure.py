"""The figures: the maps of each method, and the maps against each rival."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from benchmarks.common.canvas import FAINT, Canvas, draw_map, wrap
from benchmarks.common.names import FAMILIES
from benchmarks.compare.measures import Explanation, Task
from benchmarks.compare.methods import Method
from captum_diffcam.figures import AGAINST, FOR

_RIVALS = 3


@dataclass(frozen=True)
class _Row:
    """A photograph with its maps. Shapes: photograph (H, W, 3) in 0 to 1, maps (h, w), signed."""

    photograph: Tensor
    title: str
    text: str
    maps: Sequence[Tensor]
    notes: Sequence[str]
    """A text for each map."""


FILES = ("maps.png", "maps-plus-plus.png")
"""A file for each family of methods."""
PAIRWISE = "pairwise.png"
PER_PAGE = 12


def draw_figures(folder: Path, task: Task, drawn: Sequence[Explanation], before: int, total: int) -> list[str]:
    """Draw a figure for each family of methods and one for the rivals, with a page of all photographs.

    Figures are as wide as a column of text in the documentation. From the second page on, file names have a number.

    Args:
        folder: where the figures go.
        task: the model, layer and methods.
        drawn: the photographs of this page.
        before: the number of photographs on earlier pages.
        total: the number of all photographs.

    Returns:
        The names of the files.
    """
    where = f" Photographs {before + 1} to {before + len(drawn)} of {total}." if len(drawn) < total else ""
    source = f"{task.classifier.name}, layer {task.layer.name}.{where}"
    *files, pairwise = page_files(before)
    for (plain, family), name in zip(FAMILIES.items(), files, strict=True):
        methods = [method for method in task.methods if method.family in (plain, family)]
        _draw_methods(
            folder / name,
            f"Why this class? Maps of {family}",
            f"{source} r: Pearson correlation of the signed map with the plain one, on the left.",
            [_column(method) for method in methods],
            [_method_row(methods, result) for result in drawn],
        )
    _draw_pairwise(
        folder / pairwise,
        "Why this class rather than that one?",
        f"Red: evidence for the class; blue: for the rival. DiffGradCAM against a single rival; {source}",
        [_pairwise_row(result) for result in drawn],
    )
    return [*files, pairwise]


def page_files(before: int) -> list[str]:
    """Return the names of the figures of the page after so many photographs."""
    page = f"-{before // PER_PAGE + 1}" if before else ""
    return [name.replace(".png", f"{page}.png") for name in (*FILES, PAIRWISE)]


def _column(method: Method) -> str:
    if method.contrast is None:
        return f"plain\n{method.family}"
    return f"{method.reduction}\n{wrap(method.contrast.label, 19)}"


def _method_row(methods: Sequence[Method], result: Explanation) -> _Row:
    target, numbers = result.numbers["target"], result.numbers["methods"]
    rivals = result.numbers["rivals"][:_RIVALS]
    notes = []
    for method in methods:
        agreement = numbers[method.name]["agreement"][method.compared_with]["pearson"]
        notes.append(f"r = {agreement:.2f}" if method.contrast else "")
    return _Row(
        result.photograph,
        title=f"{target['name']} {_percent(target['probability'])}",
        text="\n".join(["rather than", *(f"{r['name']} {_percent(r['probability'])}" for r in rivals)]),
        maps=[result.maps[method.name] for method in methods],
        notes=notes,
    )


def _pairwise_row(result: Explanation) -> _Row:
    rivals = [rival["name"] for rival in result.numbers["rivals"][:_RIVALS]]
    return _Row(
        result.photograph,
        title=result.numbers["target"]["name"],
        text=Path(result.numbers["photograph"]).stem,
        maps=list(result.pairwise[: len(rivals)]),
        notes=rivals,
    )


def _percent(probability: float) -> str:
    return f"{probability:.0%}" if probability >= 0.005 else "<1%"


def _draw_methods(path: Path, title: str, explanation: str, columns: Sequence[str], rows: Sequence[_Row]) -> None:
    """Draw a row for each photograph: prediction, photograph, then the maps in named columns."""
    cell, step, row_height, left_of_cells, header = 1.1, 1.16, 1.36, 1.75, 1.3
    first = left_of_cells + step + 0.1
    canvas = Canvas(max(first + len(columns) * step + 0.06, 6), header + len(rows) * row_height + 0.4)
    canvas.heading(title, explanation)
    lefts = [first + i * step for i in range(len(columns))]
    for left, name in zip(lefts, columns, strict=True):
        canvas.text(left + cell / 2, header - 0.06, name, cell, ha="center", va="bottom")
    for i, row in enumerate(rows):
        top, right = header + i * row_height, left_of_cells - 0.1
        row_title = wrap(row.title, 20, 3)
        canvas.text(right, top + 0.05, row_title, right, ha="right", fontsize=10, fontweight="bold")
        below = top + 0.3 + 0.18 * row_title.count("\n")
        for j, line in enumerate(row.text.splitlines()):
            canvas.text(right, below + 0.16 * j, line, right, ha="right", color=FAINT)
        canvas.axes(left_of_cells, top, cell, cell).imshow(row.photograph.numpy())
        for left, map_, note in zip(lefts, row.maps, row.notes, strict=True):
            draw_map(canvas.axes(left, top, cell, cell), row.photograph, map_, signed=False)
            canvas.text(left + cell / 2, top + cell + 0.04, note, ha="center", color=FAINT)
    canvas.colour_bar(("no evidence for the class", "strongest evidence in the map"), signed=False)
    canvas.save(path)


def _draw_pairwise(path: Path, title: str, explanation: str, rows: Sequence[_Row]) -> None:
    """Draw a row for each photograph with its signed map against each rival; both classes have their colours."""
    cell, step, row_height, header = 1.8, 1.92, 2.36, 0.85
    columns = 1 + max(len(row.maps) for row in rows)
    canvas = Canvas(max(0.2 + columns * step, 6), header + len(rows) * row_height + 0.4)
    canvas.heading(title, explanation)
    for i, row in enumerate(rows):
        left, top = 0.12, header + i * row_height + 0.5
        canvas.text(left, top - 0.1, row.text, cell, va="baseline", color=FAINT)
        canvas.axes(left, top, cell, cell).imshow(row.photograph.numpy())
        for map_, rival in zip(row.maps, row.notes, strict=True):
            left += step
            canvas.text(left, top - 0.28, row.title, cell, va="baseline", color=FOR, fontweight="bold")
            canvas.text(left, top - 0.1, f"rather than {rival}", cell, va="baseline", color=AGAINST)
            draw_map(canvas.axes(left, top, cell, cell), row.photograph, map_, signed=True)
    canvas.colour_bar(("evidence for the rival", "evidence for the class"), "neither", signed=True)
    canvas.save(path)
