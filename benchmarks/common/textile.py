"""Textile images with small defects: three classes, of the package conformal-clip-data (MIT)."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

MISSING = "textile defects are left out, because they are not installed: pip install --no-deps conformal-clip-data"
CLASSES = ("nominal", "local", "global")
_PACKAGE, _FOLDER = "conformal_clip_data", "data/textile_images/simulated"
_SIDE = 112
"""In pixels. A local defect has about 4 of them."""


def find_textile() -> Path | None:
    """Return the folder with a folder of images for each class, or None if the package is missing."""
    spec = importlib.util.find_spec(_PACKAGE)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if all((Path(folder) / _FOLDER / name).is_dir() for name in CLASSES):
            return Path(folder) / _FOLDER
    return None


def textile_images(folder: Path, seed: int, training: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return images and labels for training, and the others. Shapes: images (N, 3, 112, 112), labels (N,)."""
    images, labels = _read(folder)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(labels)))
    first, rest = order[:training], order[training:]
    return (images[first], labels[first]), (images[rest], labels[rest])


@cache
def _read(folder: Path) -> tuple[Tensor, Tensor]:
    images, labels = [], []
    for index, name in enumerate(CLASSES):
        for file in sorted((folder / name).glob("*.jpg")):
            with Image.open(file) as image:
                image.draft("RGB", (_SIDE, _SIDE))
                small = image.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)
            images.append(torch.from_numpy(np.array(small)).permute(2, 0, 1))
            labels.append(index)
    return torch.stack(images).float() / 255, torch.tensor(labels)
