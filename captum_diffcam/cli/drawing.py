"""Pictures of one image: the overlay at its own size, and the small ones for the page."""

from __future__ import annotations

import io
from base64 import b64encode
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.colors import to_rgb
from PIL import Image, ImageChops, ImageDraw, ImageFont
from torch import Tensor

from captum_diffcam.cli.images import Box
from captum_diffcam.figures import AGAINST, FOR, overlay
from captum_diffcam.figures.overlays import OPACITY

_FOR, _AGAINST = (np.array(to_rgb(colour)) for colour in (FOR, AGAINST))
_SMALLEST_LETTERS = 10
"""In pixels."""
_DRAWN = 512
"""The longer side of the colours of an overlay, in pixels, before they are enlarged."""


def draw_overlay(image: Image.Image, single_map: Tensor, region: Box, caption: str) -> Image.Image:
    """Return the image with the map (h, w) over the region that the model saw, and a caption at the foot.

    What the model did not see is darkened.
    """
    left, top, right, bottom = (round(edge) for edge in region)
    right, bottom = max(right, left + 1), max(bottom, top + 1)
    # Beyond the border there is padding, which Pillow crops as black and does not paste.
    grey = image.convert("L")
    picture = grey.point(lambda value: value // 3).convert("RGB")
    picture.paste(_overlay(grey.crop((left, top, right, bottom)), single_map), (left, top))
    _write_caption(picture, caption)
    return picture


def _overlay(grey: Image.Image, single_map: Tensor) -> Image.Image:
    """Return what :func:`captum_diffcam.figures.overlay` draws, for photographs of many megapixels.

    An overlay is a colour plus a share of the grey photograph. The colours are drawn at a moderate size and enlarged
    in 8 bits: for an image of 12 megapixels this is four times as fast and takes a fraction of the memory.
    """
    scale = min(1.0, _DRAWN / max(grey.size))
    width, height = (max(1, round(scale * side)) for side in grey.size)
    black = overlay(torch.zeros(1, 3, height, width), single_map[None, None])[0]
    colours = Image.fromarray(np.rint(255 * black).astype(np.uint8)).resize(grey.size, Image.Resampling.BILINEAR)
    return ImageChops.add(colours, grey.point(lambda value: round((1 - OPACITY) * value)).convert("RGB"))


def _write_caption(picture: Image.Image, caption: str) -> None:
    width, height = picture.size
    letters = max(_SMALLEST_LETTERS, min(width, height) // 24)
    font = _font(letters)
    room, length = width - letters, font.getlength(caption)
    if length > room:
        caption = caption[: max(0, round(1.2 * len(caption) * room / length))]
        while caption and font.getlength(f"{caption}…") > room:
            caption = caption[:-1]
        caption = f"{caption.rstrip()}…"
    top = max(0, height - letters * 3 // 2)
    strip = picture.crop((0, top, width, height)).point(lambda value: value // 4)
    picture.paste(strip, (0, top))
    ImageDraw.Draw(picture).text((letters // 2, (top + height) / 2), caption, "white", font, anchor="lm")


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    # Matplotlib brings it along, with Greek and Cyrillic letters.
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), size)


def thumbnail(image: Image.Image, side: int) -> str:
    """Return the image as a JPEG data URI, its longer side not above ``side`` pixels."""
    small = image.copy()
    small.thumbnail((side, side))
    return _data_uri(small, "jpeg", quality=80)


def tile(single_map: Tensor) -> str:
    """Return a map (h, w) as a PNG data URI of h by w pixels, for the browser to enlarge over a grey photograph.

    Red and blue cover the photograph by as much as the value is of the strongest one.
    """
    values = single_map.double().numpy()
    strength = np.abs(values) / (np.abs(values).max() or 1)
    colours = np.where(values[..., None] >= 0, _FOR, _AGAINST)
    pixels = np.concatenate([colours, 0.8 * strength[..., None]], axis=-1)
    return _data_uri(Image.fromarray(np.rint(255 * pixels).astype(np.uint8)), "png")


def _data_uri(image: Image.Image, kind: str, **options: int) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return f"data:image/{kind};base64,{b64encode(buffer.getvalue()).decode()}"
