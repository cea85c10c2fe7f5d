"""Fashion-MNIST: photographs of clothes that fill the image, of 10 classes or of two."""

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
MISSING = "no Fashion-MNIST is installed, so it is left out: apt install dataset-fashion-mnist, or give --fashion"
TWO = (7, 9)
"""Sneaker and ankle boot, of which it takes a look to tell them apart."""
_INSIDE = ("", "FashionMNIST/raw")
_LIT = 0.1


def find_fashion(root: Path | None = None) -> Path | None:
    """The folder of its files, as torchvision, Debian and their authors lay them; None where it is not installed.

    Raises:
        UsageError: the folder that was given has none.
    """
    for folder in [Path(root or DEBIAN) / inside for inside in _INSIDE]:
        if any((folder / f"t10k-labels-idx1-ubyte{end}").exists() for end in ("", ".gz")):
            return folder
    if root is not None:
        raise UsageError(f"--fashion: there is no t10k-labels-idx1-ubyte in {str(root)!r}, nor in {_INSIDE[1]} of it")
    return None


def fashion_scenes(
    folder: Path, *, train: bool, count: int, seed: int, classes: tuple[int, ...] | None = None
) -> Scenes:
    """So many images at random, enlarged to the size of our drawings; the mask is what is not background.

    Args:
        folder: of :func:`find_fashion`.
        train: of the training or of the test images.
        count: at most so many; of few classes there may be fewer.
        seed: of the choice. Different parts of one order are ``count`` of a larger number.
        classes: those to keep, which are then numbered from 0.
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
    """The first so many, and the rest."""

    def part(each: slice) -> Scenes:
        return Scenes(scenes.images[each], scenes.labels[each], scenes.masks[each])

    return part(slice(first)), part(slice(first, None))


def labels_of(scenes: Scenes) -> Tensor:
    """Of the one object of each image. Shape: (N,)."""
    return scenes.labels[:, 0]
