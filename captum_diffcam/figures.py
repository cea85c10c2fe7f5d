"""Draw maps over their images: as arrays, and as figures that name the classes.

The functions take what :meth:`~captum_diffcam.LayerDiffGradCam.attribute`,
:meth:`~captum_diffcam.LayerDiffGradCam.explain` and :meth:`~captum_diffcam.LayerDiffGradCam.attribute_rivals` return.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, Union, get_args, overload

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from captum_diffcam._checks import as_count, as_tensor
from captum_diffcam.images import Array, Images, Picture, Statistics, as_pictures
from captum_diffcam.results import Explanation, Maps, RivalMaps

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure
    from PIL.Image import Image

__all__ = ["AGAINST", "FOR", "blended_colours", "heatmap", "overlay", "show_maps", "show_rivals"]

Drawable: TypeAlias = Union[Maps, list[Maps], Array, Explanation, RivalMaps]
"""Maps ``(N, 1, h, w)``, ``(N, h, w)`` or, with K maps per image, ``(N, K, 1, h, w)``; a list of them; or a result of
``explain`` or ``attribute_rivals``."""

ClassNames: TypeAlias = Union[Sequence[str], Mapping[int, str], None]
"""The names of the classes, by number."""

Limits = Literal["batch", "image", "map"]
"""Which maps share a scale: all maps, the maps of each image, or none."""

Probabilities = Literal["auto", "softmax", "sigmoid"]
"""How the printed probabilities are computed from the logits."""

FOR, AGAINST = "#b2182b", "#2166ac"
"""Red and blue, the colours of evidence for the class and against it."""

SIGNED = ("speaks against the class", "neither", "speaks for the class")
POSITIVE = ("no evidence for the class", "", "strongest evidence")
"""The words at the two ends and the middle of the colour bar, for signed maps and for their positive part."""

_ON_DARK = {FOR: "#f4846f", AGAINST: "#6db3e8", "black": "white"}
"""The colours of text on a dark background. Their contrast with black is at least 7 to 1."""
_SIGNED, _POSITIVE = "RdBu_r", "inferno"
_OPACITY = 0.6
_DARK = 0.5
"""The brightness of the border that the model does not see."""
_POINTS, _LINE = 10, 0.17
"""The size of text, and the height of a line in inches."""
_WIDTH, _GAP = 2.1, 0.1
"""The width of an image in a figure and the gap beside it, in inches."""
_LETTERS = 24
"""The number of letters that fit above an image."""
_LONGEST = 800
"""The longest side of an image in a figure, in pixels. A figure of many photographs would not fit into memory."""
_BAR = 0.45
"""The height of the colour bar with the space around it, in inches."""
_NAMED = 2
"""The number of rivals that are named above a map."""


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
        images: one image per map, as ``(N, C, H, W)`` or ``(N, H, W, C)`` with one or three channels, as a single image
            without the batch dimension, as a PIL image, or as a list of these, whose sizes may differ. They may have
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
    scales = _scales(columns, len(pictures), positive, limits)
    by_image = zip(pictures, _rows(columns), scales, strict=True)
    drawn = [_paint(picture, row, its, positive) for picture, row, its in by_image]
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
        resized.append(_resize(shares.masked_fill(~_finite(column)[:, None, None], torch.nan), height, width))
    return (resized[0] if _is_one_map(maps) else torch.stack(resized, dim=1)).numpy()


def show_maps(
    images: Images,
    maps: Drawable | Mapping[str, Drawable],
    *,
    titles: Sequence[str] | None = None,
    classes: ClassNames = None,
    probabilities: Probabilities | None = "auto",
    positive: bool = False,
    limits: Limits = "image",
    unit: str = "",
    mean: Statistics = None,
    std: Statistics = None,
    preprocess: object = None,
) -> Figure:
    """Draw a row per image: the image, then its maps over it.

    Signed maps are red where they speak for the class and blue where they speak against it. The text above the image of
    an :class:`Explanation <captum_diffcam.results.Explanation>` is the explained class with its probability, the text
    above a map names the rivals, unless they are all other classes. The colour bar at the foot has numbers if all maps
    share one scale.

    Args:
        images: as in :func:`overlay`.
        maps: as in :func:`overlay`, or a mapping from titles to such maps.
        titles: a title for each map of an image.
        classes: the names of the classes, by number. For a model with one logit per example, class 1 is a positive
            logit and class 0 a negative one.
        probabilities: the probability that is printed behind the name of a class. ``"softmax"``: of all classes.
            ``"sigmoid"``: of each class by itself, for multi-label models. None: no probability. ``"auto"``: the
            sigmoid for one logit per example, no probability if all contrast sets are empty or if the output has
            positions, and the softmax otherwise.
        positive: as in :func:`overlay`.
        limits: as in :func:`overlay`.
        unit: the unit of the maps, which is printed behind the numbers of the colour bar. Contrastive maps that add up
            to the score are in ``"nats"``.
        mean: as in :func:`overlay`.
        std: as in :func:`overlay`.
        preprocess: as in :func:`overlay`.

    Returns:
        A :class:`matplotlib.figure.Figure`, to be shown or saved with ``savefig``.

    Raises:
        TypeError, ValueError, IndexError: an argument is not as described; the message names it.

    Example:
        >>> import torch
        >>> from captum_diffcam.figures import show_maps
        >>> images, maps = torch.rand(2, 3, 32, 32), torch.randn(2, 1, 7, 7)
        >>> figure = show_maps(images, {"layer3": maps, "layer4": -maps})
        >>> len(figure.axes)  # two rows of an image and two maps, and the colour bar
        7
    """
    drawables = list(maps.values()) if isinstance(maps, Mapping) else [maps]
    by_drawable = [_columns(drawable, classes, probabilities) for drawable in drawables]
    columns = [column for group in by_drawable for column in group]
    if isinstance(maps, Mapping) and titles is None:
        titles = [
            title if i == 0 else "" for title, group in zip(maps, by_drawable, strict=True) for i in range(len(group))
        ]
    if titles is not None and len(titles) != len(columns):
        raise ValueError(
            f"`titles` must have one title for each of the {len(columns)} map(s) of an image, got {len(titles)}."
        )
    return _figure(
        as_pictures(images, mean, std, preprocess),
        columns,
        titles,
        [drawable for drawable in drawables if isinstance(drawable, (Explanation, RivalMaps))],
        classes,
        probabilities,
        positive=positive,
        limits=limits,
        unit=unit,
    )


def show_rivals(
    images: Images,
    rivals: RivalMaps,
    *,
    classes: ClassNames = None,
    probabilities: Probabilities | None = "auto",
    positive: bool = False,
    limits: Limits = "image",
    unit: str = "",
    mean: Statistics = None,
    std: Statistics = None,
    preprocess: object = None,
) -> Figure:
    """Draw why the model prefers a class to its rivals: a row per image, with a map against each rival.

    Args:
        images: as in :func:`overlay`.
        rivals: what :meth:`~captum_diffcam.LayerDiffGradCam.attribute_rivals` returns for a single layer.
        classes: as in :func:`show_maps`.
        probabilities: as in :func:`show_maps`.
        positive: draw only the positive part of the maps, which speaks for the class.
        limits: as in :func:`overlay`.
        unit: as in :func:`show_maps`.
        mean: as in :func:`overlay`.
        std: as in :func:`overlay`.
        preprocess: as in :func:`overlay`.

    Returns:
        A :class:`matplotlib.figure.Figure`, to be shown or saved with ``savefig``.

    Raises:
        TypeError, ValueError, IndexError: an argument is not as described; the message names it.

    Example:
        >>> import torch
        >>> from captum_diffcam import LayerDiffGradCam, predicted, top_rivals
        >>> from captum_diffcam.figures import show_rivals
        >>> conv, pool = torch.nn.Conv2d(3, 8, 3), torch.nn.AdaptiveAvgPool2d(1)
        >>> model = torch.nn.Sequential(conv, pool, torch.nn.Flatten(), torch.nn.Linear(8, 3))
        >>> images = torch.rand(2, 3, 32, 32)
        >>> rivals = LayerDiffGradCam(model, conv).attribute_rivals(images, predicted, top_rivals(2))
        >>> show_rivals(images, rivals, classes=["cat", "dog", "fox"]).savefig("rivals.png")  # doctest: +SKIP
    """
    if not isinstance(rivals, RivalMaps):
        raise TypeError(
            f"`rivals` must be RivalMaps, which attribute_rivals returns, got {type(rivals).__name__}. For other maps "
            "use show_maps."
        )
    if not isinstance(rivals.maps, Tensor):
        raise ValueError(
            f"`rivals` must have the maps of one layer, got those of {len(rivals.maps)} layers or tensors. Pass "
            "rivals._replace(maps=rivals.maps[0])."
        )
    return _figure(
        as_pictures(images, mean, std, preprocess),
        _columns(rivals, classes, probabilities),
        None,
        [rivals],
        classes,
        probabilities,
        positive=positive,
        limits=limits,
        unit=unit,
    )


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

    return ListedColormap(_OPACITY * _colours(np.linspace(0, 1, 256), positive) + (1 - _OPACITY) * 0.5)


# Maps.


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


def _rows(columns: Sequence[Tensor]) -> list[list[Tensor]]:
    """Return the maps image by image, each of shape (h, w)."""
    return [list(row) for row in zip(*(column.unbind() for column in columns), strict=True)]


def _finite(column: Tensor) -> Tensor:
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


def _scales(columns: Sequence[Tensor], images: int, positive: bool, limits: Limits) -> Tensor:
    """Return the value of each map that has the strongest colour. Shape: K times (N, h, w) -> (N, K)."""
    if limits not in get_args(Limits):
        raise ValueError(f"`limits` must be one of {', '.join(map(repr, get_args(Limits)))}, got {limits!r}.")
    for column in columns:
        if len(column) != images:
            raise ValueError(f"`maps` must have a map for each of the {images} image(s), got {len(column)}.")
    if not columns:
        return torch.zeros(images, 0)
    strength = [
        (column.relu() if positive else column.abs()).amax(dim=(1, 2)).where(_finite(column), 0) for column in columns
    ]
    largest = torch.stack(strength, dim=1)
    if limits == "batch":
        return largest.amax().expand_as(largest)
    return largest.amax(dim=1, keepdim=True).expand_as(largest) if limits == "image" else largest


def _paint(picture: Picture, maps: Sequence[Tensor], scales: Tensor, positive: bool) -> Array:
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
        canvas[:] = _OPACITY * coloured + (1 - _OPACITY) * canvas
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


# Words.


@dataclass(frozen=True)
class _Column:
    """A map of every image, what is written above each, and which of them are there."""

    maps: Tensor
    texts: list[str]
    present: list[bool]


def _columns(drawable: Drawable, classes: ClassNames, probabilities: Probabilities | None) -> list[_Column]:
    """Return the columns of a figure that show the maps, with the names of the rivals."""
    columns = as_columns(drawable)
    if isinstance(drawable, RivalMaps):
        names = _names(drawable, drawable.rivals, classes, probabilities)
        texts = [[f"rather than\n{name}" if name else "" for name in rival] for rival in zip(*names, strict=True)]
        # With several layers, the rivals come again for each layer.
        return [
            _Column(column, texts[i % len(texts)], [bool(text) for text in texts[i % len(texts)]])
            for i, column in enumerate(columns)
        ]
    above = _contrast_texts(drawable, classes, probabilities) if isinstance(drawable, Explanation) else None
    return [_Column(column, above or [""] * len(column), [True] * len(column)) for column in columns]


def _contrast_texts(explanation: Explanation, classes: ClassNames, probabilities: Probabilities | None) -> list[str]:
    """Return the words for the rivals of each example: "" if there are none, or more than two and all other classes."""
    mask = explanation.contrast_mask.cpu()
    logits = explanation.logits.detach().float().cpu()
    strength = logits if logits.shape == mask.shape else torch.zeros(mask.shape)
    order = strength.masked_fill(~mask, -torch.inf).argsort(dim=1, descending=True, stable=True)
    names = _names(explanation, order[:, :_NAMED], classes, probabilities)
    texts = []
    for count, ranked in zip(mask.sum(dim=1).tolist(), names, strict=True):
        named = " or ".join(ranked[:count]) if count <= _NAMED else f"{', '.join(ranked)}, {count - _NAMED} more"
        everyone = count > _NAMED and count == mask.shape[1] - 1
        texts.append("" if everyone or not count else f"rather than\n{named}")
    return texts


def _names(
    result: Explanation | RivalMaps, numbers: Tensor, classes: ClassNames, probabilities: Probabilities | None
) -> list[list[str]]:
    """Return the names of classes with their probabilities, "" for class -1. Shape: numbers (N, K)."""
    numbers = numbers.cpu()
    values = _probabilities(result, probabilities)
    if values is None:
        return [[class_name(classes, i) if i >= 0 else "" for i in row] for row in numbers.tolist()]
    chosen = values.gather(1, numbers.clamp(min=0)).tolist()
    return [
        [f"{class_name(classes, i)} {percent(p)}" if i >= 0 else "" for i, p in zip(row, ps, strict=True)]
        for row, ps in zip(numbers.tolist(), chosen, strict=True)
    ]


def _probabilities(result: Explanation | RivalMaps, kind: Probabilities | None) -> Tensor | None:
    """Return the probabilities of the classes, (N, C), or None if none are to be printed."""
    if kind is not None and kind not in get_args(Probabilities):
        allowed = ", ".join(map(repr, (*get_args(Probabilities), None)))
        raise ValueError(f"`probabilities` must be one of {allowed}, got {kind!r}.")
    logits = result.logits.detach().float().cpu()
    shape = tuple(logits.shape)
    logits = logits[:, None] if logits.ndim == 1 else logits
    has_positions = logits.shape[2:].numel() > 1
    one_logit = logits.shape[1] == 1
    if kind == "auto":
        no_contrast = isinstance(result, Explanation) and not result.contrast_mask.any()
        kind = None if has_positions or (no_contrast and not one_logit) else "sigmoid" if one_logit else "softmax"
    if kind is None:
        return None
    if has_positions:
        raise ValueError(f"`probabilities` must be None for an output with positions, {shape}, got {kind!r}.")
    logits = logits.flatten(1)
    if one_logit:
        if kind == "softmax":
            raise ValueError("`probabilities` must be 'sigmoid' or None for one logit per example, got 'softmax'.")
        # Class 1 is a positive logit, class 0 a negative one.
        return torch.cat([-logits, logits], dim=1).sigmoid()
    return logits.softmax(dim=1) if kind == "softmax" else logits.sigmoid()


def class_name(classes: ClassNames, index: int) -> str:
    """Return the name of a class, or its number if no names are given."""
    if classes is None:
        return f"class {index}"
    try:
        return str(classes[index])
    except (IndexError, KeyError):
        raise IndexError(f"`classes` must have a name for class {index}, got {len(classes)} names.") from None


def percent(probability: float) -> str:
    """Return a probability as whole percents, or as "<1%" or ">99%"."""
    if 0.005 <= probability < 0.995:
        return f"{probability:.0%}"
    return "<1%" if probability < 0.5 else ">99%"


def _ends(results: Sequence[Explanation | RivalMaps], classes: ClassNames, positive: bool) -> tuple[str, str, str]:
    """Return the words of the colour bar. They name the class and its rival if all rows have the same."""
    if not results:
        return POSITIVE if positive else SIGNED
    targets = {index for result in results for index in result.target.tolist()}
    name = class_name(classes, targets.pop()) if len(targets) == 1 else "the class"
    if positive:
        return f"no evidence for {name}", "", "strongest evidence"
    sets: list[list[int]] = []
    others = 0
    for result in results:
        if isinstance(result, RivalMaps):
            sets += [[index] for row in result.rivals.tolist() for index in row if index >= 0]
        else:
            sets += [row.nonzero().flatten().tolist() for row in result.contrast_mask]
            others = result.contrast_mask.shape[1] - 1
    if not any(sets):
        against = f"speaks against {name}"
    elif all(rivals == sets[0] and len(rivals) == 1 for rivals in sets):
        against = f"speaks for {class_name(classes, sets[0][0])}"
    elif others > 1 and all(len(rivals) == others for rivals in sets):
        against = "speaks for other classes"
    else:
        against = f"speaks for the rival{'s' if any(len(rivals) > 1 for rivals in sets) else ''}"
    return against, "neither", f"speaks for {name}"


# Figures.


def _figure(
    pictures: Sequence[Picture],
    columns: Sequence[_Column],
    titles: Sequence[str] | None,
    results: Sequence[Explanation | RivalMaps],
    classes: ClassNames,
    probabilities: Probabilities | None,
    *,
    positive: bool,
    limits: Limits,
    unit: str,
) -> Figure:
    """Draw the figure of show_maps and show_rivals."""
    maps = [column.maps for column in columns]
    scales = _scales(maps, len(pictures), positive, limits)
    pictures = [_shrunk(picture) for picture in pictures]
    drawn: list[list[Array | None]] = []
    for i, (picture, row) in enumerate(zip(pictures, _rows(maps) if maps else [[]] * len(pictures), strict=True)):
        painted = _paint(picture, row, scales[i], positive)
        drawn.append([one if column.present[i] else None for one, column in zip(painted, columns, strict=True)])
    names = (
        [row[0] for row in _names(results[0], results[0].target[:, None], classes, probabilities)] if results else []
    )
    texts = [[names[i] if names else "", *(column.texts[i] for column in columns)] for i in range(len(pictures))]
    headings: list[str] = []
    if titles is not None or not all(any(column.texts) for column in columns):
        numbered = ["map"] if len(columns) == 1 else [f"map {i}" for i in range(1, len(columns) + 1)]
        headings = ["image", *(titles if titles is not None else numbered)]
    finite = torch.stack([_finite(column) for column in maps], dim=1) if maps else torch.ones(len(pictures), 0)
    notes = [["", *("" if fine else "map is not finite" for fine in row)] for row in finite.tolist()]
    is_shared = limits == "batch" or scales.numel() == 1 or (limits == "image" and len(pictures) == 1)
    largest = float(scales.max()) if scales.numel() else 0.0
    remarks = [] if is_shared else [f"Each {limits} has its own scale."]
    if any(picture.box != (0, 0, *picture.rgb.shape[:2]) for picture in pictures):
        remarks.append("The model does not see the dark borders.")
    colours = ["black"] * (1 + len(columns)) if positive else [FOR, *[AGAINST] * len(columns)]
    return rows_of_maps(
        pictures,
        drawn,
        texts,
        colours if results else ["black"] * len(colours),
        _ends(results, classes, positive),
        positive,
        headings=headings,
        notes=notes,
        numbers=_numbers(largest, unit, positive) if is_shared and largest else None,
        remark="\n".join(remarks),
    )


def _numbers(largest: float, unit: str, positive: bool) -> tuple[str, str, str]:
    """Return the numbers at the two ends and the middle of the colour bar."""
    last = f"{largest:.3g} {unit}".strip()
    return ("0", f"{largest / 2:.3g}", last) if positive else (f"\N{MINUS SIGN}{largest:.3g}", "0", f"+{last}")


def rows_of_maps(
    pictures: Sequence[Picture],
    drawn: Sequence[Sequence[Array | None]] | Array,
    texts: Sequence[Sequence[str]],
    colours: Sequence[str],
    ends: tuple[str, str, str],
    positive: bool,
    *,
    headings: Sequence[str] = (),
    notes: Sequence[Sequence[str]] = (),
    numbers: tuple[str, str, str] | None = None,
    remark: str = "",
) -> Figure:
    """Draw rows of an image and its K maps with texts above them, and a colour bar at the foot.

    Args:
        pictures: N images.
        drawn: the maps over them, N times K arrays (H, W, 3). None leaves a place empty.
        texts: what is written above each image and map, N times 1 + K.
        colours: the colours of the texts, by column.
        ends: the words at the ends and the middle of the colour bar.
        positive: as in :func:`overlay`.
        headings: the titles of the columns, in bold above the first row.
        notes: what is written into each image and map, N times 1 + K.
        numbers: the numbers at the ends and the middle of the colour bar.
        remark: a line below the colour bar.
    """
    from matplotlib.figure import Figure

    columns = len(colours)
    lines = [[_wrapped(text) for text in row] for row in texts]
    # A row is as high as its image; a very tall image is drawn smaller.
    heights = [min(_WIDTH * picture.rgb.shape[0] / picture.rgb.shape[1], 2 * _WIDTH) for picture in pictures]
    above = [1.5 * _GAP + _LINE * max(text.count("\n") + bool(text) for text in row) for row in lines]
    heads = [_wrapped(heading) for heading in headings]
    above_all = _LINE * max((head.count("\n") + 1 for head in heads), default=0)
    words = [_wrapped(end, _LETTERS + 1) for end in ends]
    below = max(word.count("\n") + 1 for word in words) + bool(numbers) + len(remark.splitlines())
    foot = _BAR + _LINE * below
    foot = foot if columns > 1 else 0
    width = columns * (_WIDTH + _GAP) + _GAP
    height = above_all + sum(above) + sum(heights) + _GAP + foot
    # A Figure of its own needs no display and leaves pyplot alone.
    figure = Figure((width, height))
    ink = _legible_colours(figure)

    def place(left: float, top: float, wide: float, high: float) -> Axes:
        """Add a box without frame and ticks, in inches from the upper left corner."""
        axes = figure.add_axes((left / width, 1 - (top + high) / height, wide / width, high / height))
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        return axes

    style: dict[str, Any] = {"fontsize": _POINTS, "parse_math": False}
    top = above_all
    for i, (picture, maps, row) in enumerate(zip(pictures, drawn, lines, strict=True)):
        top += above[i]
        for j, (shown, text, colour) in enumerate(zip((picture.rgb, *maps), row, colours, strict=True)):
            left = _GAP + j * (_WIDTH + _GAP)
            axes = place(left, top, _WIDTH, heights[i])
            axes.patch.set_visible(False)
            if shown is not None:
                axes.imshow(shown)
            axes.set_title(text, color=ink[colour], fontweight="normal" if j else "bold", pad=3, **style)
            if heads and i == 0:
                x, y = (left + _WIDTH / 2) / width, 1 - above_all / height
                figure.text(x, y, heads[j], ha="center", va="bottom", color=ink["black"], fontweight="bold", **style)
            if notes and notes[i][j]:
                box = {"facecolor": "white", "edgecolor": "none"}
                centred: dict[str, Any] = {"ha": "center", "va": "center", "transform": axes.transAxes}
                axes.text(0.5, 0.5, notes[i][j], color="black", bbox=box, **centred, **style)
        top += heights[i]
    if foot:
        wide = min(width - 2 * _GAP, 2 * _WIDTH)
        bar = place((width - wide) / 2, top + 2 * _GAP, wide, 0.13)
        bar.imshow([range(256)], cmap=blended_colours(positive), aspect="auto")
        inks = [ink["black"]] * 3 if positive else [ink[AGAINST], ink["black"], ink[FOR]]
        for line, labels in enumerate([words] if numbers is None else [numbers, words]):
            # Points below the bar, because its height is less than a line.
            for label, x, side, colour in zip(labels, (0, 0.5, 1), ("left", "center", "right"), inks, strict=True):
                bar.annotate(
                    label,
                    (x, 0),
                    (0, -3 - 72 * _LINE * line),
                    "axes fraction",
                    "offset points",
                    ha=side,
                    va="top",
                    color=colour,
                    **style,
                )
        if remark:
            figure.text(0.5, 0.5 * _GAP / height, remark, ha="center", va="bottom", color=ink["black"], **style)
    return figure


def _legible_colours(figure: Figure) -> dict[str, str]:
    """Return the colours of texts that are legible on the background of a figure."""
    from matplotlib.colors import to_rgba

    *rgb, opacity = to_rgba(figure.get_facecolor())
    if opacity < 1:
        # What lies behind the figure is unknown.
        figure.set_facecolor("white")
        rgb = [1.0] * 3
    is_dark = float(np.dot(rgb, (0.2126, 0.7152, 0.0722))) < 0.4
    return {colour: on_dark if is_dark else colour for colour, on_dark in _ON_DARK.items()}


def _shrunk(picture: Picture) -> Picture:
    """Return an image as large as a figure needs it."""
    height, width = picture.rgb.shape[:2]
    factor = _LONGEST / max(height, width)
    if factor >= 1:
        return picture
    size = max(round(height * factor), 1), max(round(width * factor), 1)
    rgb = torch.from_numpy(picture.rgb).permute(2, 0, 1)[None]
    small = interpolate(rgb, size, mode="bilinear", antialias=True)[0].permute(1, 2, 0).numpy()
    top, left, bottom, right = (round(edge * factor) for edge in picture.box)
    return Picture(small, (top, left, max(bottom, top + 1), max(right, left + 1)))


def _wrapped(text: str, letters: int = _LETTERS) -> str:
    """Return a text whose lines fit above an image. Each of its lines becomes at most two."""
    return "\n".join(
        part for line in text.split("\n") for part in textwrap.wrap(line, letters, max_lines=2, placeholder="…")
    )
