"""The files of each photograph: its map over it, and its maps as arrays."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.compare.measures import Explanation
from benchmarks.compare.methods import Method
from captum_diffcam.figures import overlay

FOLDER = "photographs"


def write_photograph(folder: Path, name: str, explanation: Explanation, method: Method) -> None:
    """Write NAME.png, the signed map of the method over the photograph, and NAME.npz.

    The arrays of NAME.npz are ``map`` (h, w) and ``method``, its name. ``target`` and ``rivals`` (K,) are numbers of
    classes, and ``pairwise`` (K, h, w) is the map against each rival. ``names`` and ``probabilities`` (1 + K,) are of
    the target and its rivals.
    """
    folder.mkdir(parents=True, exist_ok=True)
    map_, numbers = explanation.maps[method.name], explanation.numbers
    drawn = overlay(explanation.photograph.permute(2, 0, 1)[None], map_[None, None])[0]
    Image.fromarray((255 * drawn).round().astype(np.uint8)).save(folder / f"{name}.png", optimize=True)
    classes = [numbers["target"], *numbers["rivals"]]
    np.savez_compressed(
        folder / f"{name}.npz",
        map=map_.numpy(),
        method=method.name,
        target=numbers["target"]["class"],
        rivals=np.array([rival["class"] for rival in numbers["rivals"]], dtype=np.int64),
        pairwise=explanation.pairwise.numpy(),
        names=np.array([entry["name"] for entry in classes]),
        probabilities=np.array([entry["probability"] for entry in classes]),
    )


def unique_names(files: Iterable[str]) -> list[str]:
    """Return a name for each file, without its suffix; with a number in front if two would be the same."""
    stems = [Path(file).stem for file in files]
    return stems if len(set(stems)) == len(stems) else [f"{i}-{stem}" for i, stem in enumerate(stems, start=1)]
