"""Fashion-MNIST: photographs of clothes that fill the image, with 10 classes or with two."""

from __future__ import annotations

import gzip
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from benchmarks.common.glyphs import SIZE, Scenes
from benchmarks.common.options import UsageError

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
MISSING = "Fashion-MNIST is left out, because it is not installed: apt install dataset-fashion-mnist, or give --fashion"
TWO = (7, 9)
"""Sneaker and ankle boot, which are similar."""
_INSIDE = ("", "FashionMNIST/raw")
_LIT = 0.1


def find_fashion(root: Path | None = None) -> Path | None:
    """Return the folder with the files, as torchvision, Debian and the authors arrange them; None if there is none.

    Raises:
        UsageError: ``root`` has no such files.
    """
    for folder in [Path(root or DEBIAN) / inside for inside in _INSIDE]:
        if any((folder / f"t10k-labels-idx1-ubyte{end}").exists() for end in ("", ".gz")):
            return folder
    if root is not None:
        raise UsageError(
            f"--fashion must have t10k-labels-idx1-ubyte, in the folder or its {_INSIDE[1]}, got {str(root)!r}"
        )
    return None


def fashion_scenes(
    folder: Path, *, train: bool, count: int, seed: int, classes: tuple[int, ...] | None = None
) -> Scenes:
    """Return random images, enlarged to the size of the drawn glyphs; the mask is everything but the background.

    Args:
        folder: of :func:`find_fashion`.
        train: take training images instead of test images.
        count: the number of images, at most.
        seed: of the random order.
        classes: the classes to keep, which are then numbered from 0.
    """
    pixels, labels = _read(folder, "train" if train else "t10k")
    if classes is not None:
        kept = np.isin(labels, classes)
        pixels, labels = pixels[kept], np.searchsorted(classes, labels[kept])
    chosen = np.random.default_rng(seed).permutation(len(labels))[:count]
    images = torch.from_numpy(pixels[chosen]).float()[:, None] / 255
    images = interpolate(images, size=SIZE, mode="bilinear").expand(-1, 3, -1, -1).contiguous()
    return Scenes(images, torch.from_numpy(labels[chosen]).long()[:, None], images[:, :1] > _LIT)


@cache
def _read(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    images = _bytes(folder / f"{part}-images-idx3-ubyte")[16:]
    labels = _bytes(folder / f"{part}-labels-idx1-ubyte")[8:]
    return images.reshape(-1, 28, 28), labels.astype(np.int64)


def _bytes(file: Path) -> np.ndarray:
    packed = file.with_name(f"{file.name}.gz")
    data = gzip.decompress(packed.read_bytes()) if packed.exists() else file.read_bytes()
    return np.frombuffer(data, dtype=np.uint8)


def split(scenes: Scenes, first: int) -> tuple[Scenes, Scenes]:
    """Return the first scenes, and the rest."""

    def part(indices: slice) -> Scenes:
        return Scenes(scenes.images[indices], scenes.labels[indices], scenes.masks[indices])

    return part(slice(first)), part(slice(first, None))


def labels_of(scenes: Scenes) -> Tensor:
    """Return the label of the only object of each image. Shape: (N,)."""
    return scenes.labels[:, 0]
