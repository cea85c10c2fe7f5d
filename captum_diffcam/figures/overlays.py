"""Draw maps over their images, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias, Union, get_args, overload

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from captum_diffcam._checks import as_count, as_tensor
from captum_diffcam.figures.images import Images, Picture, Statistics, as_pictures
from captum_diffcam.figures.seen_region import Array
from captum_diffcam.results import Explanation, Maps, RivalMaps

if TYPE_CHECKING:
    from matplotlib.colors import ListedColormap
    from PIL.Image import Image

Drawable: TypeAlias = Union[Maps, list[Maps], Array, Explanation, RivalMaps]
"""Maps ``(N, 1, h, w)``, ``(N, h, w)`` or, with K maps per image, ``(N, K, 1, h, w)``; a list of them; or a result of
``explain`` or ``attribute_rivals``."""

Limits = Literal["batch", "image", "map"]
"""Which maps share a scale: all maps, the maps of each image, or none."""

_SIGNED, _POSITIVE = "RdBu_r", "inferno"
OPACITY = 0.6
"""The opacity of a map's colours over its grey image."""
_DARK = 0.5
"""The brightness of the border that the model does not see."""


@overload
def overlay(
    images: Tensor | Array | Image,
    maps: Drawable,
    *,
    positive: bool = False,
    limits: Limits = "image",
    mean: Statistics = None,
    std: Statistics = None,
    preprocess: object = None,
) -> Array: ...


@overload
def overlay(
    images: Sequence[Tensor | Array | Image],
    maps: Drawable,
    *,
    positive: bool = False,
    limits: Limits = "image",
    mean: Statistics = None,
    std: Statistics = None,
    preprocess: object = None,
) -> list[Array]: ...


def overlay(
    images: Images,
    maps: Drawable,
    *,
    positive: bool = False,
    limits: Limits = "image",
    mean: Statistics = None,
    std: Statistics = None,
    preprocess: object = None,
) -> Array | list[Array]:
    r"""Draw maps over their images, and return arrays of the size of the images.

    The image is drawn in grey, so that every colour comes from the map: red is evidence for the class, blue is evidence
    against it (for its rivals), and white is neither. If a map contains NaN or infinite values, grey stripes are drawn
    instead, and the map does not affect the scale of other maps.

    Args:
        images: one image per map, as ``(N, C, H, W)`` or ``(N, H, W, C)`` with one or three channels. Also a single
            image without the batch dimension, a PIL image, or a list of these, whose sizes may differ. They may have
            another size than the model's input. Integers are taken to range from 0 to 255.
        maps: maps ``(N, 1, h, w)`` or ``(N, h, w)``, or what :class:`~captum_diffcam.LayerDiffGradCam` returns: an
            :class:`Explanation <captum_diffcam.results.Explanation>`, :class:`RivalMaps
            <captum_diffcam.results.RivalMaps>`, or a list of maps of several layers. They are resized bilinearly.
        positive: draw only the positive part of the maps, from black to yellow.
        limits: which maps share a scale. The strongest colour is the largest absolute value among them.
            ``"batch"``: all maps, so that images can be compared. ``"image"``: the maps of each image. ``"map"``: every
            map has its own scale, for maps of different kinds.
        mean: the mean that floating-point images were normalised with, one number or one per channel. PIL images and
            integers are drawn as they are. If neither ``mean``, ``std`` nor ``preprocess`` is given, floating-point
            images between 0 and 1 are drawn as they are, and others are stretched from their smallest to their largest
            value.
        std: the standard deviation that floating-point images were normalised with.
        preprocess: the model's preprocessing, from which ``mean`` and ``std`` are read: a torchvision transform (the
            ``transforms()`` of its weights, a ``Compose``), a timm transform or data configuration, or a Hugging Face
            image processor. If images are given as they are before preprocessing (as PIL images or integers), their
            maps are drawn over the part that the model sees: a centre crop leaves a border without a map. Without
            ``preprocess`` a map covers its image from edge to edge.

    Returns:
        (N, H, W, 3) float32 from 0 to 1, for ``imshow``. If there are K maps per image, as in RivalMaps and lists,
        (N, K, H, W, 3). If ``images`` is a list, a list of N such arrays without the first dimension.

    Raises:
        TypeError, ValueError: an argument is not as described; the message names it.

    Example:
        >>> import torch
        >>> from captum_diffcam.figures import overlay
        >>> images, maps = torch.rand(2, 3, 32, 32), torch.randn(2, 1, 7, 7)
        >>> overlay(images, maps).shape
        (2, 32, 32, 3)
        >>> overlay(images, [maps, -maps], positive=True).shape
        (2, 2, 32, 32, 3)
    """
    pictures, columns = as_pictures(images, mean, std, preprocess), as_columns(maps)
    scales = map_scales(columns, len(pictures), positive, limits)
    drawn = [
        paint(picture, [column[i] for column in columns], scales[i], positive) for i, picture in enumerate(pictures)
    ]
    if _is_one_map(maps):
        drawn = [of_image[0] for of_image in drawn]
    return drawn if isinstance(images, (list, tuple)) else np.stack(drawn)


def heatmap(maps: Drawable, size: int | Sequence[int] | None = None) -> Array:
    r"""Return maps as arrays from 0 to 1, as pytorch-grad-cam does.

    .. math:: H = \operatorname{resize}\Bigl( \frac{\operatorname{relu}(M)}{\max \operatorname{relu}(M)} \Bigr)

    The negative part of a map becomes zero, and zero stays zero: the smallest value is not moved to zero, because the
    map would lose its sign. A map without a positive value is zero everywhere. The resizing is bilinear. A map that
    contains NaN or infinite values becomes NaN everywhere.

    Args:
        maps: as in :func:`overlay`.
        size: the height and the width of the result, such as ``images.shape[-2:]``, or one number for both. None: the
            size of the maps.

    Returns:
        (N, H, W) float32. If there are K maps per image, as in RivalMaps and lists, (N, K, H, W).

    Raises:
        TypeError, ValueError: an argument is not as described; the message names it.

    Example:
        >>> import torch
        >>> from captum_diffcam.figures import heatmap
        >>> heatmap(torch.tensor([[[[-1.0, 2.0, 4.0]]]]))
        array([[[0. , 0.5, 1. ]]], dtype=float32)
        >>> heatmap(torch.randn(2, 1, 7, 7), size=(224, 224)).shape
        (2, 224, 224)
    """
    columns = as_columns(maps)
    height, width = _size(columns, size)
    resized = []
    for column in columns:
        largest = column.relu().amax(dim=(1, 2), keepdim=True)
        shares = column.relu() / largest.where(largest > 0, 1)
        resized.append(_resize(shares.masked_fill(~are_finite(column)[:, None, None], torch.nan), height, width))
    return (resized[0] if _is_one_map(maps) else torch.stack(resized, dim=1)).numpy()


def blended_colours(positive: bool = False) -> ListedColormap:
    """Return the colours of maps as they look over a grey image, for a colour bar.

    Args:
        positive: the colours of the positive part of maps, as in :func:`overlay`.

    Example:
        >>> from captum_diffcam.figures import blended_colours
        >>> blended_colours().N
        256
    """
    from matplotlib.colors import ListedColormap

    return ListedColormap(OPACITY * _colours(np.linspace(0, 1, 256), positive) + (1 - OPACITY) * 0.5)


def as_columns(maps: Drawable) -> list[Tensor]:
    """Return the maps of every image, one after the other, each of shape (N, h, w)."""
    if isinstance(maps, (Explanation, RivalMaps)):
        maps = maps.maps
    columns: list[Tensor] = []
    for item in maps if isinstance(maps, (list, tuple)) else [maps]:
        if not isinstance(item, (Tensor, np.ndarray)):
            raise TypeError(
                "`maps` must be a tensor or array of maps, a list of them, an Explanation or RivalMaps, got "
                f"{type(item).__name__}."
            )
        single = as_tensor("maps", item).detach().float().cpu()
        if single.ndim == 5 and single.shape[2] == 1:
            columns += single[:, :, 0].unbind(dim=1)
        elif single.ndim == 4 and single.shape[1] == 1:
            columns.append(single[:, 0])
        elif single.ndim == 3 and single.shape[1] > 1:  # (N, 1, length) is a map of a sequence
            columns.append(single)
        else:
            raise ValueError(
                "`maps` must have two spatial dimensions and a shape (N, 1, h, w), (N, h, w) or (N, K, 1, h, w), got "
                f"shape {tuple(single.shape)}."
            )
    return columns


def _is_one_map(maps: Drawable) -> bool:
    """Return whether there is a single map per image, rather than K of them."""
    if isinstance(maps, (Explanation, RivalMaps)):
        maps = maps.maps
    return isinstance(maps, (Tensor, np.ndarray)) and maps.ndim < 5


def are_finite(column: Tensor) -> Tensor:
    """Return whether each map has finite values only. Shape: (N, h, w) -> (N,)."""
    return column.isfinite().flatten(1).all(dim=1)


def _resize(column: Tensor, height: int, width: int) -> Tensor:
    return interpolate(column[:, None], (height, width), mode="bilinear")[:, 0]


def _size(columns: Sequence[Tensor], size: int | Sequence[int] | None) -> tuple[int, int]:
    """Return the height and the width that maps are resized to."""
    if size is None:
        sizes = {tuple(column.shape[1:]) for column in columns}
        if len(sizes) != 1:
            raise ValueError(f"`size` must be given for maps of different sizes, got None for maps of {sorted(sizes)}.")
        size = sizes.pop()
    numbers = list(size) if isinstance(size, (tuple, list)) else [size, size]
    if len(numbers) != 2:
        raise ValueError(f"`size` must be one or two integers, the height and the width, got {size!r}.")
    return as_count("size", numbers[0]), as_count("size", numbers[1])


def map_scales(columns: Sequence[Tensor], images: int, positive: bool, limits: Limits) -> Tensor:
    """Return the value of each map that has the strongest colour. Shape: K times (N, h, w) -> (N, K)."""
    if limits not in get_args(Limits):
        raise ValueError(f"`limits` must be one of {', '.join(map(repr, get_args(Limits)))}, got {limits!r}.")
    for column in columns:
        if len(column) != images:
            raise ValueError(f"`maps` must have a map for each of the {images} image(s), got {len(column)}.")
    if not columns:
        return torch.zeros(images, 0)
    strength = [
        (column.relu() if positive else column.abs()).amax(dim=(1, 2)).where(are_finite(column), 0)
        for column in columns
    ]
    largest = torch.stack(strength, dim=1)
    if limits == "batch":
        return largest.amax().expand_as(largest)
    return largest.amax(dim=1, keepdim=True).expand_as(largest) if limits == "image" else largest


def paint(picture: Picture, maps: Sequence[Tensor], scales: Tensor, positive: bool) -> Array:
    """Draw the maps of one image over it. Shapes: K times (h, w), (K,) -> (K, H, W, 3)."""
    grey = picture.rgb.mean(axis=2, keepdims=True)
    top, left, bottom, right = picture.box
    visible = np.zeros_like(grey)
    visible[top:bottom, left:right] = 1
    dark = np.where(visible, grey, _DARK * grey).repeat(3, axis=2)
    drawn: Array = dark[None].repeat(len(maps), axis=0)
    for canvas, single, scale in zip(drawn[:, top:bottom, left:right], maps, scales.tolist(), strict=True):
        height, width = canvas.shape[:2]
        if single.isfinite().all():
            values = (_resize(single[None], height, width)[0] / (scale or 1)).numpy()
            coloured = _colours(values if positive else (values + 1) / 2, positive)
        else:
            coloured = _stripes(height, width)
        canvas[:] = OPACITY * coloured + (1 - OPACITY) * canvas
    return drawn


def _colours(values: Array, positive: bool) -> Array:
    """Return the colours of values from 0 to 1, with a last axis of red, green and blue."""
    import matplotlib as mpl

    colours: Array = mpl.colormaps[_POSITIVE if positive else _SIGNED](values)[..., :3]
    return colours.astype(np.float32)


def _stripes(height: int, width: int) -> Array:
    """Return diagonal stripes in two greys, which stand for a map that is not finite."""
    wide = max(min(height, width) // 20, 1)
    dark = (np.add.outer(np.arange(height), np.arange(width)) // wide) % 2
    return np.where(dark, 0.35, 0.7).astype(np.float32)[..., None]
