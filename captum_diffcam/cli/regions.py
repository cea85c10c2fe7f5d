"""Regions of the images of a run: boxes and masks that the user names, and how much of each map lies in them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from captum_diffcam import evidence_in
from captum_diffcam.cli.images import Box, ImageFile, one_line
from captum_diffcam.cli.options import UsageError

_COLUMNS = "file,name,x0,y0,x1,y1 or file,name,mask"


class Region(NamedTuple):
    """A region of an image."""

    name: str
    box: Box | None
    """In pixels of the image file."""
    mask: Path | None
    """An image of the same size that is not black in the region."""


def read_regions(path: Path | None, files: Sequence[ImageFile]) -> dict[str, list[Region]]:
    """Return the regions that a table names, by image.

    Raises:
        UsageError: The table cannot be read, lacks a column or names an image that is not explained.
    """
    if path is None:
        return {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            rows = list(csv.DictReader(lines))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"`--regions` must be a table (CSV), got {str(path)!r}: {one_line(error)}") from error
    known = {file.name for file in files}
    regions: dict[str, list[Region]] = {}
    for number, row in enumerate(rows, start=2):
        where = f"line {number} of {str(path)!r}"
        if row.get("file") not in known:
            raise UsageError(f"`--regions` must name images that are explained, got {row.get('file')!r} in {where}.")
        regions.setdefault(row["file"], []).append(_region(row, path.parent, where))
    return regions


def _region(row: dict[str, str], folder: Path, where: str) -> Region:
    name = (row.get("name") or "").strip()
    if mask := row.get("mask"):
        if name and (folder / mask).is_file():
            return Region(name, None, folder / mask)
        raise UsageError(f"`--regions` must have a name and a mask that exists, got {name!r}, {mask!r} in {where}.")
    try:
        x0, y0, x1, y1 = (float(row[column]) for column in ("x0", "y0", "x1", "y1"))
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"`--regions` must have the columns {_COLUMNS}, which {where} has not.") from error
    if not name or not (x0 < x1 and y0 < y1):
        raise UsageError(f"`--regions` must have a name and a box with x0 < x1 and y0 < y1, not so in {where}.")
    return Region(name, (x0, y0, x1, y1), None)


def evidence_of(maps: Tensor, regions: Sequence[Region], size: tuple[int, int], seen: Box) -> Tensor:
    """Return how much of each map lies in each region of an image. Shape: (K, h, w) -> (K, R).

    Args:
        maps: Those of one image.
        regions: Its regions.
        size: Its width and height.
        seen: The part of it that the model sees, which the maps cover.

    Raises:
        UsageError: A mask cannot be read or has another size.
    """
    left, top, right, bottom = seen
    columns = [torch.zeros(len(maps), 0)]
    for region in regions:
        if region.box is None:
            columns.append(evidence_in(maps[:, None], _mask(region, size, seen)))
        else:
            x0, y0, x1, y1 = region.box
            box = (x0 - left, y0 - top, x1 - left, y1 - top)
            columns.append(evidence_in(maps[:, None], boxes=box, image_size=(bottom - top, right - left)))
    return torch.cat(columns, dim=1)


def _mask(region: Region, size: tuple[int, int], seen: Box) -> Tensor:
    """Return the mask of a region over what the model sees, (H, W)."""
    try:
        with Image.open(str(region.mask)) as image:
            mask = image.convert("L")
    except (OSError, ValueError) as error:
        raise UsageError(
            f"`--regions` must name masks that can be read, got {region.mask}: {one_line(error)}"
        ) from error
    if mask.size != size:
        raise UsageError(
            f"`--regions` must name masks of the size of the image, {size}, got {mask.size}: {region.mask}"
        )
    left, top, right, bottom = (round(edge) for edge in seen)
    # Beyond the border Pillow crops black.
    return torch.from_numpy(np.asarray(mask.crop((left, top, max(right, left + 1), max(bottom, top + 1)))) > 0)
