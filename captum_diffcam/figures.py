"""Pictures of maps: over their images as arrays, and as figures with the names of classes.

They take what :meth:`~captum_diffcam.LayerDiffGradCam.attribute`, :meth:`~captum_diffcam.LayerDiffGradCam.explain` and
:meth:`~captum_diffcam.LayerDiffGradCam.attribute_rivals` return.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from captum_diffcam._sheet import POSITIVE, SIGNED, rows_of_maps
from captum_diffcam.pictures import (
    AGAINST,
    FOR,
    Drawable,
    Images,
    Limits,
    Statistics,
    as_columns,
    as_pictures,
    blended_colours,
    class_name,
    over,
    percent,
    scaled,
)
from captum_diffcam.results import Explanation, RivalMaps

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["AGAINST", "FOR", "blended_colours", "overlay", "show_maps", "show_rivals"]


def overlay(
    images: Images,
    maps: Drawable,
    *,
    positive: bool = False,
    limits: Limits = "image",
    mean: Statistics = None,
    std: Statistics = None,
) -> np.ndarray[Any, Any]:
    r"""Maps over their images, as arrays for whoever draws them.

    The image is grey, so that all colour is the map's: red where it speaks for the class, blue where it speaks against
    it (for the rivals), and neither where it is zero.

    Args:
        images: what the model was given, (N, channels, H, W) with one or three channels, or the same images at another
            size.
        maps: maps (N, 1, h, w), or what :class:`~captum_diffcam.LayerDiffGradCam` returns: an :class:`Explanation
            <captum_diffcam.results.Explanation>`, :class:`RivalMaps <captum_diffcam.results.RivalMaps>`, or a list of
            maps of several layers. Upsampled bilinearly to the size of the images.
        positive: show what speaks for the class alone, from black to yellow.
        limits: ``"image"``: the strongest colour is the largest absolute value among the maps of an image, so that
            they can be compared. ``"map"``: that of each map by itself, where they are of different kinds.
        mean: with ``std``, what the images were normalised with, one number or one for each channel. Without them
            floating-point images between 0 and 1, and integers between 0 and 255, are shown as they are; others are
            stretched from their smallest to their largest value.
        std: see ``mean``.

    Returns:
        (N, H, W, 3) float32 from 0 to 1, for ``imshow``. With an axis of maps, (N, K, H, W, 3), where there are several
        for each image, as RivalMaps and lists have.

    Raises:
        TypeError, ValueError: the argument is named with what was given and what is allowed.

    Example:
        >>> import torch
        >>> from captum_diffcam.figures import overlay
        >>> images, maps = torch.rand(2, 3, 32, 32), torch.randn(2, 1, 7, 7)
        >>> overlay(images, maps).shape
        (2, 32, 32, 3)
        >>> overlay(images, [maps, -maps], positive=True).shape
        (2, 2, 32, 32, 3)
    """
    _, drawn = _drawn(images, as_columns(maps), positive, limits, mean, std)
    given = maps.maps if isinstance(maps, (Explanation, RivalMaps)) else maps
    return drawn[:, 0] if isinstance(given, (Tensor, np.ndarray)) and given.ndim == 4 else drawn


def show_maps(
    images: Images,
    maps: Drawable | Mapping[str, Drawable],
    *,
    titles: Sequence[str] | None = None,
    classes: Sequence[str] | Mapping[int, str] | None = None,
    positive: bool = False,
    limits: Limits = "image",
    mean: Statistics = None,
    std: Statistics = None,
) -> Figure:
    """A row for each image: the image, and its maps over it. Signed maps are red and blue.

    Args:
        images: as in :func:`overlay`.
        maps: as in :func:`overlay`, or a mapping from titles to such maps. Above the image of an :class:`Explanation
            <captum_diffcam.results.Explanation>` stands the class that is explained, with its probability.
        titles: one for each map of an image.
        classes: the names of the classes, by number.
        positive: as in :func:`overlay`, and so are all other arguments.
        limits: what the strongest colour stands for.
        mean: what the images were normalised with.
        std: what the images were normalised with.

    Returns:
        A :class:`matplotlib.figure.Figure`, to be shown or saved with ``savefig``.

    Raises:
        TypeError, ValueError, IndexError: the argument is named with what was given and what is allowed.

    Example:
        >>> import torch
        >>> from captum_diffcam.figures import show_maps
        >>> images, maps = torch.rand(2, 3, 32, 32), torch.randn(2, 1, 7, 7)
        >>> figure = show_maps(images, {"layer3": maps, "layer4": -maps})
        >>> len(figure.axes)  # two rows of an image and two maps, and the scale
        7
    """
    given = list(maps.values()) if isinstance(maps, Mapping) else [maps]
    columns = [column for each in given for column in as_columns(each)]
    if isinstance(maps, Mapping) and titles is None and len(columns) == len(maps):
        titles = list(maps)
    if titles is not None and len(titles) != len(columns):
        raise ValueError(f"titles: got {len(titles)} for {len(columns)} map(s) of each image")
    pictures, drawn = _drawn(images, columns, positive, limits, mean, std)
    decided = next((each for each in given if isinstance(each, (Explanation, RivalMaps))), None)
    said = _said(decided, decided.target[:, None], classes) if decided else [[""]] * len(pictures)
    untitled = [""] * len(columns)
    texts = [[*of_image, *(untitled if row or titles is None else titles)] for row, of_image in enumerate(said)]
    ends = POSITIVE if positive else SIGNED
    return rows_of_maps(pictures, drawn, texts, ["black"] * (1 + len(columns)), ends, positive)


def show_rivals(
    images: Images,
    rivals: RivalMaps,
    *,
    classes: Sequence[str] | Mapping[int, str] | None = None,
    positive: bool = False,
    limits: Limits = "image",
    mean: Statistics = None,
    std: Statistics = None,
) -> Figure:
    """Why this class rather than that one: a row for each image with a map against each rival, all named.

    Args:
        images: as in :func:`overlay`.
        rivals: what :meth:`~captum_diffcam.LayerDiffGradCam.attribute_rivals` returns, of a single layer.
        classes: as in :func:`show_maps`, and so are all other arguments.
        positive: show what speaks for the class alone.
        limits: what the strongest colour stands for.
        mean: what the images were normalised with.
        std: what the images were normalised with.

    Returns:
        A :class:`matplotlib.figure.Figure`, to be shown or saved with ``savefig``.

    Raises:
        TypeError, ValueError, IndexError: the argument is named with what was given and what is allowed.

    Example:
        >>> import torch
        >>> from captum_diffcam import LayerDiffGradCam, predicted, top_rivals
        >>> from captum_diffcam.figures import show_rivals
        >>> conv, pool = torch.nn.Conv2d(3, 8, 3), torch.nn.AdaptiveAvgPool2d(1)
        >>> model = torch.nn.Sequential(conv, pool, torch.nn.Flatten(), torch.nn.Linear(8, 3))
        >>> images = torch.rand(2, 3, 32, 32)
        >>> found = LayerDiffGradCam(model, conv).attribute_rivals(images, predicted, top_rivals(2))
        >>> show_rivals(images, found, classes=["cat", "dog", "fox"]).savefig("rivals.png")  # doctest: +SKIP
    """
    if not isinstance(rivals, RivalMaps):
        raise TypeError(f"rivals: got {type(rivals).__name__}; allowed are RivalMaps, as attribute_rivals returns them")
    if not isinstance(rivals.maps, Tensor):
        raise ValueError(
            f"rivals: got maps of {len(rivals.maps)} layers or tensors; allowed are those of one, as "
            "rivals._replace(maps=rivals.maps[0]) has"
        )
    pictures, drawn = _drawn(images, as_columns(rivals), positive, limits, mean, std)
    named = _said(rivals, rivals.rivals, classes)
    texts = [
        [said, *(f"rather than\n{name}" if name else "" for name in others)]
        for (said,), others in zip(_said(rivals, rivals.target[:, None], classes), named, strict=True)
    ]
    # Examples with fewer rivals are filled up.
    drawn[(rivals.rivals < 0).cpu().numpy()] = 1
    ends = POSITIVE if positive else ("speaks for the rival", "neither", "speaks for the class")
    return rows_of_maps(pictures, drawn, texts, [FOR, *[AGAINST] * rivals.rivals.shape[1]], ends, positive)


def _drawn(
    images: Images, columns: Sequence[Tensor], positive: bool, limits: Limits, mean: Statistics, std: Statistics
) -> tuple[Tensor, np.ndarray[Any, Any]]:
    """The images to look at, and their maps over them: (N, H, W, 3), (N, K, H, W, 3)."""
    pictures = as_pictures(images, mean, std)
    return pictures, over(pictures, scaled(columns, pictures, positive=positive, limits=limits), positive)


def _said(
    decided: Explanation | RivalMaps, asked: Tensor, classes: Sequence[str] | Mapping[int, str] | None
) -> list[list[str]]:
    """The name of each class that is asked for, (N, K), with its probability where there are several; "" for -1."""
    asked, logits = asked.cpu(), decided.logits.detach().float().cpu()
    if logits.ndim != 2 or logits.shape[1] < 2:
        return [[class_name(classes, index) if index >= 0 else "" for index in row] for row in asked.tolist()]
    probabilities = logits.softmax(dim=1).gather(1, asked.clamp(min=0)).tolist()
    return [
        [f"{class_name(classes, i)} {percent(p)}" if i >= 0 else "" for i, p in zip(row, its, strict=True)]
        for row, its in zip(asked.tolist(), probabilities, strict=True)
    ]
