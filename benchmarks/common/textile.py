"""Textile images with small defects, of the package conformal-clip-data (MIT), and a classifier of these."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from benchmarks.common.small_nets import Classifier, convolution

MISSING = "textile defects are left out, because they are not installed: pip install --no-deps conformal-clip-data"
CLASSES = ("nominal", "local", "global")
_PACKAGE, _FOLDER = "conformal_clip_data", "data/textile_images/simulated"
_WIDTH = 12


def find_textile() -> Path | None:
    """Return the folder with a folder of images for each class, or None if the package is missing."""
    spec = importlib.util.find_spec(_PACKAGE)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if all((Path(folder) / _FOLDER / name).is_dir() for name in CLASSES):
            return Path(folder) / _FOLDER
    return None


def textile_images(folder: Path, seed: int, training: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return images and labels for training, and the others. Shapes: images (N, 1, 250, 250), labels (N,).

    They keep their size. A local defect is noise between neighbouring pixels, about 10 by 15 of them, and half of the
    size shows nothing of it.
    """
    images, labels = _read(folder)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(labels)))
    first, rest = order[:training], order[training:]
    return (images[first], labels[first]), (images[rest], labels[rest])


def textile_classifier(seed: int) -> Classifier:
    """Return an untrained classifier, whose features have 7 x 7 positions. Shapes: (N, 1, 250, 250) -> (N, 3).

    It takes maxima early, so that a small defect is not averaged away.
    """
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        features = nn.Sequential(
            nn.Sequential(*convolution(1, _WIDTH, 2, 5), nn.MaxPool2d(2)),
            nn.Sequential(*convolution(_WIDTH, 2 * _WIDTH), nn.MaxPool2d(2)),
            nn.Sequential(*convolution(2 * _WIDTH, 4 * _WIDTH), nn.MaxPool2d(2)),
            nn.Sequential(*convolution(4 * _WIDTH, 4 * _WIDTH), nn.MaxPool2d(2)),
            nn.Sequential(*convolution(4 * _WIDTH, 4 * _WIDTH)),
        )
        return Classifier(features, nn.AdaptiveAvgPool2d(1), nn.Linear(4 * _WIDTH, len(CLASSES))).eval()


@cache
def _read(folder: Path) -> tuple[Tensor, Tensor]:
    images, labels = [], []
    for index, name in enumerate(CLASSES):
        for file in sorted((folder / name).glob("*.jpg")):
            with Image.open(file) as image:
                images.append(torch.from_numpy(np.array(image.convert("L"))))
            labels.append(index)
    return torch.stack(images)[:, None].float() / 255, torch.tensor(labels)
