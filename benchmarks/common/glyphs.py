"""Drawn images of glyphs on clutter, whose classes and masks are known.

A class is a character of DejaVu Sans, the typeface that comes with matplotlib. It is drawn in a random colour, size,
rotation and position over a background of coloured noise, strokes and fragments of characters.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path

import matplotlib
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

SIZE = 56
"""Height and width of an image in pixels."""

# Latin, digits, Greek, Cyrillic, Armenian, Georgian, Tifinagh, and Canadian syllabics.
_BLOCKS = (
    *((0x41, 0x5B), (0x61, 0x7B), (0x30, 0x3A), (0x391, 0x3CA), (0x410, 0x450)),
    *((0x531, 0x557), (0x10D0, 0x10F1), (0x2D30, 0x2D68), (0x1401, 0x1677)),
)
_SHAPE = 32
_MOST_ALIKE = 0.6
_FONT = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"


@dataclass(frozen=True)
class Scenes:
    """Drawn images. Shapes: images (N, 3, H, W) in 0 to 1, labels (N, K), masks (N, K, H, W), for K objects each."""

    images: Tensor
    labels: Tensor
    masks: Tensor


def draw_scenes(
    classes: int, count: int, seed: int, objects: int = 1, *, side: tuple[float, float] = (20, 26)
) -> Scenes:
    """Return drawn images of random classes. The objects of an image have different classes and do not overlap.

    ``side`` is the range of the longer side of an object, in pixels.
    """
    rng = np.random.default_rng(seed)
    characters = alphabet(classes)
    images = np.empty((count, 3, SIZE, SIZE), dtype=np.float32)
    masks = np.empty((count, objects, SIZE, SIZE), dtype=bool)
    labels = np.stack([rng.choice(classes, objects, replace=False) for _ in range(count)])
    for image, image_masks, image_labels in zip(images, masks, labels, strict=True):
        canvas = _background(rng, characters)
        while True:
            image_masks[:] = [_place(rng, _glyph(characters[label]), side) for label in image_labels]
            if image_masks.sum(axis=0).max() == 1:
                break
        for mask in image_masks:
            # Dark on a bright background, bright on a dark one.
            colour = rng.uniform(0.0, 0.25, 3) if canvas[:, mask].mean() > 0.5 else rng.uniform(0.75, 1.0, 3)
            canvas[:, mask] = colour[:, None]
        image[:] = (canvas + rng.normal(0, 0.02, canvas.shape)).clip(0, 1)
    return Scenes(torch.from_numpy(images), torch.from_numpy(labels), torch.from_numpy(masks))


@cache
def alphabet(classes: int) -> tuple[str, ...]:
    """Return the first characters of the typeface such that no two look alike."""
    chosen: list[str] = []
    shapes = np.empty((0, _SHAPE * _SHAPE), dtype=bool)
    missing = _stretched("\uffff")
    for character in map(chr, chain.from_iterable(range(*block) for block in _BLOCKS)):
        shape = _stretched(character)
        overlap = (shapes & shape).sum(axis=1) / np.maximum((shapes | shape).sum(axis=1), 1)
        if shape.any() and not np.array_equal(shape, missing) and (overlap < _MOST_ALIKE).all():
            shapes = np.concatenate([shapes, shape[None]])
            chosen.append(character)
        if len(chosen) == classes:
            return tuple(chosen)
    raise ValueError(f"`classes` must be at most {len(chosen)}, because more glyphs would look alike, got {classes}.")


@cache
def _glyph(character: str) -> Image.Image:
    """Return the character, cropped to its shape."""
    font = ImageFont.truetype(str(_FONT), 64)
    left, top, right, bottom = font.getbbox(character)
    drawn = Image.new("L", (int(right - left) or 1, int(bottom - top) or 1))
    ImageDraw.Draw(drawn).text((-left, -top), character, fill=255, font=font)
    return drawn


def _stretched(character: str) -> NDArray[np.bool_]:
    """Return the character's shape stretched to a square, to compare it with others."""
    return np.asarray(_glyph(character).resize((_SHAPE, _SHAPE))).ravel() > 127


def _fitted(rng: np.random.Generator, glyph: Image.Image, low: float, high: float) -> Image.Image:
    """Return the glyph rotated a little, with a random length of its longer side, in pixels."""
    turned = glyph.rotate(rng.uniform(-12, 12), expand=True)
    scale = rng.uniform(low, high) / max(turned.size)
    return turned.resize((max(round(turned.width * scale), 4), max(round(turned.height * scale), 4)))


def _place(rng: np.random.Generator, glyph: Image.Image, side: tuple[float, float]) -> NDArray[np.bool_]:
    """Return the mask of the glyph at a random position."""
    drawn = _fitted(rng, glyph, *side)
    left, top = rng.integers(1, SIZE - drawn.width), rng.integers(1, SIZE - drawn.height)
    mask = np.zeros((SIZE, SIZE), dtype=bool)
    mask[top : top + drawn.height, left : left + drawn.width] = np.asarray(drawn) > 127
    return mask


def _background(rng: np.random.Generator, characters: tuple[str, ...]) -> NDArray[np.float64]:
    """Return coloured patches of noise with strokes and fragments of characters."""
    coarse = (rng.uniform(0.3, 0.7, (7, 7, 3)) * 255).astype(np.uint8)
    canvas = Image.fromarray(coarse).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(canvas)
    for _ in range(4):
        ends = [int(end) for end in rng.integers(0, SIZE, 4)]
        pen.line(ends, fill=tuple(int(shade) for shade in rng.integers(0, 256, 3)), width=int(rng.integers(1, 3)))
    for _ in range(4):
        part = _fitted(rng, _glyph(characters[rng.integers(len(characters))]), 16, 22)
        part = part.crop((0, 0, part.width, max(part.height // 3, 1)))
        place = int(rng.integers(0, SIZE - part.width)), int(rng.integers(0, SIZE - part.height))
        canvas.paste(tuple(int(shade) for shade in rng.integers(0, 256, 3)), place, part)
    return np.asarray(canvas, dtype=np.float64).transpose(2, 0, 1) / 255
