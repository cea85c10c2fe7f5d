"""The maps of one image, honest and after every attack."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.sham.experiment import HONEST, Outcome
from captum_diffcam.metrics import pearson

COLUMNS = {
    "LayerGradCam": "Grad-CAM",
    "Grad-CAM++": "Grad-CAM++",
    "DiffGradCAM logsumexp, every other class": "DiffGradCAM\nlogsumexp",
    "DiffGradCAM mean, every other class": "DiffGradCAM\nmean",
    "DiffGradCAM max, every other class": "DiffGradCAM\nmax",
    "DiffGradCAM++ logsumexp, every other class": "DiffGradCAM++\nlogsumexp",
    "DiffGradCAM++ mean, every other class": "DiffGradCAM++\nmean",
}
_INCHES = 1.15


def draw_attacks(path: Path, title: str, outcome: Outcome) -> None:
    """A row for the honest model and one for each attack; signed maps, with r to the honest map of the same method."""
    rows = list(outcome.shown)
    figure = Figure((_INCHES * (len(COLUMNS) + 2.6), _INCHES * len(rows) + 1.2), dpi=110, layout="constrained")
    figure.suptitle(f"{title}: signed maps of one held-out image, r with the honest map above", fontsize=11)
    grid = figure.subplots(len(rows), 1 + len(COLUMNS), squeeze=False)
    low, high = outcome.image.min(), outcome.image.max()
    for axes, attack in zip(grid, rows, strict=True):
        first = attack == HONEST
        if first:
            axes[0].imshow(((outcome.image - low) / (high - low)).permute(1, 2, 0).numpy())
            axes[0].set_title("image", fontsize=9)
        elif attack == rows[1]:
            axes[0].imshow(outcome.hoax.numpy(), cmap="RdBu_r", vmin=-outcome.hoax.max(), vmax=outcome.hoax.max())
            axes[0].set_title("hoax", fontsize=9)
        else:
            axes[0].axis("off")
        axes[0].text(-0.15, 0.5, attack, transform=axes[0].transAxes, ha="right", va="center", fontsize=9)
        for ax, (method, label) in zip(axes[1:], COLUMNS.items(), strict=True):
            maps = outcome.shown[attack][method]
            limit = maps.abs().max().item() or 1.0
            ax.imshow(maps.numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit)
            if first:
                ax.set_title(label, fontsize=9)
            else:
                r = pearson(maps[None], outcome.shown[HONEST][method][None]).item()
                ax.set_xlabel(f"r = {r:.2f}", fontsize=8, labelpad=2)
    for ax in grid.flat:
        ax.set(xticks=[], yticks=[])
    figure.savefig(path)
