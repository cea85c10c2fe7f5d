"""The images of these studies: photographs, cut-outs over photographs, clothes; alone and in mosaics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.functional import center_crop, pil_to_tensor, resize

from benchmarks.common.cutouts import SIZE, Material, compose
from benchmarks.common.fashion import fashion_scenes
from benchmarks.common.glyphs import SIZE as SMALL_SIZE
from benchmarks.common.images import load_image, packaged_photographs

PHOTOGRAPHS, CUTOUTS, CLOTHES = "photographs", "cut-outs", "clothes"
_VIEWS = 2
"""How many backgrounds each cut-out gets."""
_SIDE = (0.6, 0.9)
"""The range of the longer side of a cut-out, as a share of the image's."""


@dataclass(frozen=True)
class Pictures:
    """Pictures of one kind, with values from 0 to 1. Each is an image for a classifier, and a tile of a mosaic."""

    kind: str
    count: int
    image: Callable[[int], Tensor]
    """From an index to (3, H, W)."""
    tile: Callable[[int], Tensor]
    """From an index to (3, h, w)."""
    different: int
    """How many are of different things. Picture ``i`` shows the thing ``i % different``."""


def photographs(material: Material) -> Pictures:
    """Return the packaged photographs and the backgrounds, cropped to a square in the middle."""
    files = [*packaged_photographs(), *material.backgrounds]
    image = cache(lambda index: _cropped(files[index]))
    return Pictures(PHOTOGRAPHS, len(files), image, image, len(files))


def _cropped(file: Path) -> Tensor:
    image = load_image(file)
    image.thumbnail((8 * SIZE, 8 * SIZE))
    square: Tensor = center_crop(resize(pil_to_tensor(image), [SIZE], antialias=True), [SIZE])
    return square.float() / 255


def cutouts(material: Material, seed: int) -> Pictures:
    """Return every cut-out over parts of several backgrounds, so that more of them are recognised at least once."""
    different = len(material.cutouts)

    @cache
    def image(index: int) -> Tensor:
        own = Material((material.cutouts[index % different],), material.backgrounds)
        return compose(own, 1, 1_000_000 * seed + index, objects=(1, 1), side=_SIDE).images[0]

    return Pictures(CUTOUTS, _VIEWS * different, image, image, different)


def clothes(folder: Path, count: int, seed: int) -> Pictures:
    """Return test images of Fashion-MNIST. The image of each has it at a random position of a black square."""
    items = _items(folder, train=False, count=count, seed=seed)[0]
    image = cache(lambda index: placed(items[index], [seed, index]))
    return Pictures(CLOTHES, len(items), image, items.__getitem__, len(items))


def training_clothes(folder: Path, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return training images (N, 3, 56, 56) of Fashion-MNIST at random positions, and their labels (N,)."""
    items, labels = _items(folder, train=True, count=count, seed=seed)
    return torch.stack([placed(item, [seed, 1, index]) for index, item in enumerate(items)]), labels


def _items(folder: Path, *, train: bool, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return images of half the small classifiers' size, (N, 3, 28, 28), and their labels."""
    scenes = fashion_scenes(folder, train=train, count=count, seed=seed)
    return torch.nn.functional.avg_pool2d(scenes.images, 2), scenes.labels[:, 0]


def placed(item: Tensor, seed: list[int]) -> Tensor:
    """Return the item at a random position of a black image. Shapes: (3, h, w) -> (3, 56, 56)."""
    canvas = torch.zeros(3, SMALL_SIZE, SMALL_SIZE)
    rng = np.random.default_rng(seed)
    top, left = (int(rng.integers(0, SMALL_SIZE - length + 1)) for length in item.shape[1:])
    canvas[:, top : top + item.shape[1], left : left + item.shape[2]] = item
    return canvas


def draw_mosaics(classes: Tensor, count: int, tiles: int, seed: int) -> list[list[int]]:
    """Return which pictures each mosaic shows. Its pictures have different classes, and all are used equally often.

    Args:
        classes: the predicted class of each picture, (N,).
        count: the number of mosaics.
        tiles: the number of pictures of a mosaic.
        seed: of the order of the pictures.

    Raises:
        ValueError: there are fewer classes than tiles.
    """
    if (different := len(set(classes.tolist()))) < tiles:
        raise ValueError(f"`classes` must have {tiles} different values, got {different}.")
    rng, queue, mosaics = np.random.default_rng(seed), list[int](), list[list[int]]()
    while len(mosaics) < count:
        first: dict[int, int] = {}
        for picture in queue:
            first.setdefault(int(classes[picture]), picture)
        chosen = list(first.values())[:tiles]
        if len(chosen) < tiles:
            queue += rng.permutation(len(classes)).tolist()
            continue
        mosaics.append(chosen)
        for picture in chosen:
            queue.remove(picture)
    return mosaics


def mosaic(tiles: list[Tensor]) -> Tensor:
    """Return square tiles in a square, row by row. Shapes: n * n of (3, h, h) -> (3, n * h, n * h)."""
    side = round(len(tiles) ** 0.5)
    rows = [torch.cat(tiles[start : start + side], dim=2) for start in range(0, len(tiles), side)]
    return torch.cat(rows, dim=1)


def tile_masks(side: int, size: int) -> Tensor:
    """Return where each tile of a mosaic is. Shape: (side * side, size, size), boolean."""
    row = torch.arange(size) * side // size
    index = row[:, None] * side + row[None, :]
    return index[None] == torch.arange(side * side)[:, None, None]
