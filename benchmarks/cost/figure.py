"""The figure of the cost benchmark: memory, time, and growth with the number of rivals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import geometric_mean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

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
MARKERS = {FORWARD: "o", GRAD_CAM: "s", DIFF: "o", DIFF_PLUS_PLUS: "D", "pytorch-grad-cam": "^", "torchcam": "v"}
LABELS = {FORWARD: "forward, no map", GRAD_CAM: "Captum LayerGradCam"}
GROUPS = {
    EXPLAIN: "its map",
    RIVALS: "maps against\nfive rivals",
    LAYERS: "maps of\nthree layers",
    LITE0: "efficientnet-lite0,\ninput of the layer",
}


def draw_cost(path: Path, record: dict[str, Any]) -> None:
    """Draw memory as bars on a linear axis, and times as dots on logarithmic axes."""
    figure = Figure(figsize=(8, 11), dpi=160, layout="constrained")
    panels = figure.subplot_mosaic([["memory"], ["time"], ["jobs"], ["rivals"]], height_ratios=[1, 1.7, 1.3, 1.3])
    machine = record["machine"]
    figure.suptitle(f"What a map costs   ({machine['device']}, {machine['torch_threads']} thread(s))", fontsize=11)

    largest, first = max(row["batch"] for row in record["memory"]), record["memory"][0]["model"]
    shown = [row for row in record["memory"] if (row["model"], row["batch"], row["job"]) == (first, largest, MAP)]
    _bars(
        panels["memory"], {row["method"]: row["peak_mib"] for row in shown}, "peak memory over the loaded model [MiB]"
    )
    panels["memory"].set_title(f"Memory of a map: {first}, late layer, batch {largest}")

    shown = with_largest_batch([row for row in record["time"] if (row["job"], row["layer"]) == (MAP, "late")])
    _dots(panels["time"], [(row["model"], row["method"], row["to_forward"]["median"]) for row in shown])
    panels["time"].set_title(f"Time of a map: late layer, {_batches(shown)}")
    handles, labels = panels["time"].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=9, ncols=3, loc="outside lower center", title="in the lower three panels")

    jobs = [row for row in record["time"] if row["job"] != MAP and row["layer"] in ("late", "all")]
    _dots(panels["jobs"], _means(jobs))
    panels["jobs"].set_title("Time of the prediction with its maps: mean over models")

    grown = [{**row, "method": row["method"].partition(",")[0]} for row in record["growth"] if row["grows"] == "rivals"]
    _lines(panels["rivals"], [row for row in grown if row["method"] in COLOURS], "rivals, a map each")
    panels["rivals"].set_title("Time by the number of rivals")
    for axes in panels.values():
        axes.title.set_fontsize(10)
        axes.xaxis.label.set_fontsize(9)
        axes.yaxis.label.set_fontsize(9)
        axes.tick_params(labelsize=9)
        axes.grid(axis="x", alpha=0.3)
        axes.set_axisbelow(True)
    figure.savefig(path)


def _batches(rows: Sequence[dict[str, Any]]) -> str:
    """Return the batch of the first model, and those of models with another one."""
    first = rows[0]["batch"]
    others = {row["model"]: row["batch"] for row in rows if row["batch"] != first}
    return f"batch {first}" + "".join(f" ({model}: {batch})" for model, batch in others.items())


def _means(rows: Sequence[dict[str, Any]]) -> list[tuple[str, str, float]]:
    """Return job, method, and the geometric mean over models of the time in forward passes."""
    cases = dict.fromkeys((row["job"], row["method"]) for row in rows if row["method"] != FORWARD)
    return [
        (
            job,
            method,
            geometric_mean(row["to_forward"]["median"] for row in rows if (row["job"], row["method"]) == (job, method)),
        )
        for job, method in cases
    ]


def _bars(axes: Axes, values: dict[str, float], label: str) -> None:
    """Draw a horizontal bar for each method, with its value."""
    bars = axes.barh(
        [LABELS.get(method, method) for method in values],
        list(values.values()),
        color=[COLOURS[name] for name in values],
    )
    axes.bar_label(bars, fmt="%.0f", padding=3, fontsize=9)
    axes.invert_yaxis()
    axes.set_xlabel(label)
    axes.margins(x=0.1)


def _dots(axes: Axes, points: Sequence[tuple[str, str, float]]) -> None:
    """Draw a row for each group, and in it a dot for each method at the time that it takes in forward passes."""
    groups = list(dict.fromkeys(group for group, _, _ in points))
    for method, colour in COLOURS.items():
        of_method = {group: value for group, name, value in points if name == method}
        if of_method and method != FORWARD:
            rows = [groups.index(group) for group in of_method]
            axes.plot(
                list(of_method.values()),
                rows,
                MARKERS[method],
                color=colour,
                label=LABELS.get(method, method),
                markersize=7,
            )
    axes.axvline(1, color=COLOURS[FORWARD], linewidth=2, label=LABELS[FORWARD])
    axes.set_yticks(range(len(groups)), [GROUPS.get(group, group) for group in groups])
    axes.set(xscale="log", xlabel="time in forward passes without a map", ylim=(len(groups) - 0.5, -0.5))
    axes.grid(axis="y", alpha=0.3)
    _number(axes.xaxis)


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
            marker=MARKERS[method],
            capsize=3,
            color=COLOURS[method],
        )
    values = sorted({row["to"] for row in rows})
    axes.set(xscale="log", yscale="log", xlabel=label, ylabel="time [ms]")
    axes.set_xticks(values, [str(value) for value in values])
    axes.set_xticks([], minor=True)
    axes.grid(axis="y", alpha=0.3)
    _number(axes.yaxis)


def _number(axis: Axis) -> None:
    """Label 1, 2 and 5 of every power of ten with plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())
