"""The figure of the cost benchmark: memory, time, and growth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import geometric_mean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

from benchmarks.common.names import DIFF, DIFF_PLUS_PLUS, GRAD_CAM, LITE0
from benchmarks.cost.jobs import EXPLAIN, FORWARD, LAYERS, MAP, RIVALS
from benchmarks.cost.targets import with_largest_batch

COLOURS = {
    FORWARD: "#7f7f7f",
    GRAD_CAM: "#d95f02",
    DIFF: "#1b6ca8",
    DIFF_PLUS_PLUS: "#5aa9dd",
    "pytorch-grad-cam": "#b08bbf",
    "torchcam": "#8cb369",
}
LABELS = {FORWARD: "forward, no map", GRAD_CAM: "Captum LayerGradCam"}
GROUPS = {
    MAP: "a map of\na given class",
    EXPLAIN: "the prediction,\nits map",
    RIVALS: "the prediction, maps\nagainst five rivals",
    LAYERS: "the prediction, maps\nof three layers",
    LITE0: "efficientnet\nlite0 (input)",
}


def draw_cost(path: Path, record: dict[str, Any]) -> None:
    """Draw memory, the time of a map, the time of the other jobs, and growth, on logarithmic axes."""
    figure = Figure(figsize=(8, 12), dpi=160, layout="constrained")
    panels = figure.subplot_mosaic([["memory"] * 2, ["time"] * 2, ["jobs"] * 2, ["size", "rivals"]])
    machine = record["machine"]
    figure.suptitle(f"What a map costs   ({machine['device']}, {machine['torch_threads']} thread(s))", fontsize=11)

    largest, first = max(row["batch"] for row in record["memory"]), record["memory"][0]["model"]
    shown = [row for row in record["memory"] if (row["model"], row["batch"]) == (first, largest)]
    _bars(
        panels["memory"], shown, "job", [row["peak_mib"] for row in shown], "peak memory over\nthe loaded model [MiB]"
    )
    panels["memory"].set_title(f"Memory: {first}, late layer, batch {largest}")
    shown = with_largest_batch([row for row in record["time"] if (row["job"], row["layer"]) == (MAP, "late")])
    _bars(panels["time"], shown, "model", [1000 * row["seconds"]["median"] for row in shown], "time [ms]")
    panels["time"].set_title(f"A map: time, late layer, {_batches(shown)}")
    panels["time"].legend(fontsize=9, ncols=3, loc="upper left")
    panels["time"].set_ylim(top=panels["time"].get_ylim()[1] * 8)
    _lines(
        panels["size"],
        [row for row in record["growth"] if row["grows"] == "size"],
        "width and height [pixels]",
    )
    panels["size"].set_title("A map: growth with the image's size")
    _jobs(panels["jobs"], [row for row in record["time"] if row["job"] != MAP and row["layer"] in ("late", "all")])
    grown = [{**row, "method": row["method"].partition(",")[0]} for row in record["growth"] if row["grows"] == "rivals"]
    _lines(panels["rivals"], [row for row in grown if row["method"] in COLOURS], "rivals, a map each")
    panels["rivals"].set_title("Growth with rivals")
    for axes in panels.values():
        axes.title.set_fontsize(10)
        axes.xaxis.label.set_fontsize(9)
        axes.yaxis.label.set_fontsize(9)
        axes.tick_params(labelsize=9)
    figure.savefig(path)


def _batches(rows: Sequence[dict[str, Any]]) -> str:
    """Return the batch of the first model, and those of models with another one."""
    first = rows[0]["batch"]
    others = {row["model"]: row["batch"] for row in rows if row["batch"] != first}
    return f"batch {first}" + "".join(f" ({model}: {batch})" for model, batch in others.items())


def _jobs(axes: Axes, rows: Sequence[dict[str, Any]]) -> None:
    """Draw geometric means over models, as multiples of a bare forward pass."""
    means = []
    for job, method in dict.fromkeys((row["job"], row["method"]) for row in rows):
        its = [row["to_forward"]["median"] for row in rows if (row["job"], row["method"]) == (job, method)]
        means.append({"job": job, "method": method, "mean": geometric_mean(its)})
    shown = [row for row in means if row["method"] != FORWARD]
    _bars(axes, shown, "job", [row["mean"] for row in shown], "time, multiples\nof a bare forward")
    axes.axhline(1, color="0.3", linewidth=1)
    axes.set_title("Prediction and maps: mean over models")


def _bars(axes: Axes, rows: Sequence[dict[str, Any]], by: str, values: Sequence[float], label: str) -> None:
    groups = list(dict.fromkeys(row[by] for row in rows))
    methods = [method for method in COLOURS if any(row["method"] == method for row in rows)]
    width = 0.85 / max(len(methods), 1)
    for i, method in enumerate(methods):
        heights = {row[by]: value for row, value in zip(rows, values, strict=True) if row["method"] == method}
        places = [
            index + (i - (len(methods) - 1) / 2) * width for index, group in enumerate(groups) if group in heights
        ]
        axes.bar(places, list(heights.values()), width, color=COLOURS[method], label=LABELS.get(method, method))
    axes.set_xticks(range(len(groups)), [GROUPS.get(group, group.replace("_", "\n", 1)) for group in groups])
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
    axes.legend(fontsize=9)


def _number(axes: Axes) -> None:
    """Label 1, 2 and 5 of every power of ten with plain numbers."""
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_yticks([], minor=True)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
