"""The figure of the cost benchmark: memory and time beside a bare forward, and growth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

from benchmarks.common.names import DIFF, DIFF_PLUS_PLUS, GRAD_CAM
from benchmarks.cost.methods import FORWARD

COLOURS = {
    FORWARD: "#7f7f7f",
    GRAD_CAM: "#d95f02",
    DIFF: "#1b6ca8",
    DIFF_PLUS_PLUS: "#5aa9dd",
    "pytorch-grad-cam": "#b08bbf",
    "torchcam": "#8cb369",
}
LABELS = {FORWARD: "forward, no map", GRAD_CAM: "Captum LayerGradCam"}


def draw_cost(path: Path, record: dict[str, Any]) -> None:
    """Four panels, all on logarithmic scales."""
    figure = Figure(figsize=(12.5, 9), dpi=110, layout="constrained")
    (memory, time), (size, rivals) = figure.subplots(2, 2)
    machine = record["machine"]
    note = f"\n{record['note']}" if "note" in record else ""
    where = f"{machine['device']}, {machine['torch_threads']} thread(s)"
    figure.suptitle(f"What a map costs   ({where}){note}", fontsize=14)

    batch = record["time"][0]["batch"]
    shown = [row for row in record["memory"] if (row["layer"], row["batch"]) == ("late", batch)]
    _bars(memory, shown, [row["peak_mib"] for row in shown], "peak memory over the loaded model [MiB]")
    memory.set_title(f"Memory, late layer, batch {batch}")
    shown = [row for row in record["time"] if (row["layer"], row["batch"]) == ("late", batch)]
    _bars(time, shown, [1000 * row["seconds"]["median"] for row in shown], "time [ms]")
    time.set_title(f"Time, late layer, batch {batch}")
    time.legend(fontsize=8, ncols=2, loc="upper left")
    time.set_ylim(top=time.get_ylim()[1] * 6)

    _lines(size, [row for row in record["growth"] if row["grows"] == "size"], "width and height of one image [pixels]")
    size.set_title("Growth with the image")
    grown = [{**row, "method": row["method"].partition(",")[0]} for row in record["growth"] if row["grows"] == "rivals"]
    _lines(rivals, [row for row in grown if row["method"] in COLOURS], "rivals, a map each")
    rivals.set_title("Growth with rivals: one forward serves all")
    figure.savefig(path)


def _bars(axes: Axes, rows: Sequence[dict[str, Any]], values: Sequence[float], label: str) -> None:
    models = list(dict.fromkeys(row["model"] for row in rows))
    methods = [method for method in COLOURS if any(row["method"] == method for row in rows)]
    width = 0.85 / max(len(methods), 1)
    for i, method in enumerate(methods):
        found = {row["model"]: value for row, value in zip(rows, values, strict=True) if row["method"] == method}
        places = [index + (i - (len(methods) - 1) / 2) * width for index, model in enumerate(models) if model in found]
        axes.bar(places, list(found.values()), width, color=COLOURS[method], label=LABELS.get(method, method))
    axes.set_xticks(range(len(models)), [model.replace("_", "\n", 1) for model in models])
    axes.set(yscale="log", ylabel=label)
    _number(axes)


def _lines(axes: Axes, rows: Sequence[dict[str, Any]], label: str) -> None:
    for method in dict.fromkeys(row["method"] for row in rows):
        points = sorted((row["to"], row["seconds"]) for row in rows if row["method"] == method)
        middle = [1000 * seconds["median"] for _, seconds in points]
        below = [1000 * (seconds["median"] - seconds["lower"]) for _, seconds in points]
        above = [1000 * (seconds["upper"] - seconds["median"]) for _, seconds in points]
        axes.errorbar(
            [to for to, _ in points],
            middle,
            yerr=[below, above],
            marker="o",
            capsize=3,
            color=COLOURS[method],
            label=LABELS.get(method, method),
        )
    values = sorted({row["to"] for row in rows})
    axes.set(xscale="log", yscale="log", xlabel=label, ylabel="time [ms]")
    axes.set_xticks(values, [str(value) for value in values])
    axes.set_xticks([], minor=True)
    _number(axes)
    axes.legend(fontsize=8)


def _number(axes: Axes) -> None:
    """Plain numbers at 1, 2 and 5 of every power of ten."""
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_yticks([], minor=True)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
