"""Draw maps over their images: as arrays, and as figures that name the classes.

The functions take what :meth:`~captum_diffcam.LayerDiffGradCam.attribute`,
:meth:`~captum_diffcam.LayerDiffGradCam.explain` and :meth:`~captum_diffcam.LayerDiffGradCam.attribute_rivals` return.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, Union, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from captum_diffcam._checks import as_tensor
from captum_diffcam.results import Explanation, Maps, RivalMaps

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure

__all__ = ["AGAINST", "FOR", "blended_colours", "overlay", "show_maps", "show_rivals"]


Images: TypeAlias = Union[Tensor, np.ndarray[Any, Any]]
"""What the model was given, ``(N, channels, H, W)`` with one or three channels."""

Statistics: TypeAlias = Union[float, Sequence[float], Tensor, None]
"""One number for all channels, or one for each."""

Drawable: TypeAlias = Union[Maps, list[Maps], np.ndarray[Any, Any], Explanation, RivalMaps]
"""What the attribution classes return, maps ``(N, 1, h, w)`` or ``(N, K, 1, h, w)``, alone or with the decision."""

Limits = Literal["image", "map"]
"""The strongest colour is the largest absolute value of all maps of an image, or of each map by itself."""

FOR, AGAINST = "#b2182b", "#2166ac"
"""Red and blue, the ends of the colours of signed maps."""

_SIGNED, _POSITIVE = "RdBu_r", "inferno"
_OPACITY = 0.6
"""Of a map over its image."""


_INCHES, _GAP, _LINE, _SCALE = 2.0, 0.08, 0.155, 0.45
"""The width of a picture, the gap beside it, the height of a line of text, and of the scale at the foot."""
_LETTERS = 26
"""So many fit above a picture."""
SIGNED = ("speaks against the class", "neither", "speaks for the class")
POSITIVE = ("no evidence for the class", "", "strongest evidence")
"""What the ends and the middle of the scale mean, for signed maps and for what is positive of them."""


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


def as_pictures(images: Images, mean: Statistics, std: Statistics) -> Tensor:
    """Images to look at. Shapes: (N, C, H, W), mean and std of C numbers or one -> (N, H, W, 3), in 0 to 1."""
    if not isinstance(images, (Tensor, np.ndarray)):
        raise TypeError(f"images: got {type(images).__name__}; allowed is a tensor or array (N, channels, H, W)")
    given = as_tensor("images", images).detach().cpu()
    if given.ndim != 4 or given.shape[1] not in (1, 3):
        raise ValueError(f"images: got shape {tuple(given.shape)}; allowed is (N, 1 or 3 channels, H, W)")
    pictures = given.float() if given.is_floating_point() else given / 255
    if mean is not None or std is not None:
        pictures = pictures * _of_channels("std", std, 1.0, given.shape[1])
        pictures = pictures + _of_channels("mean", mean, 0.0, given.shape[1])
    elif pictures.numel() and (pictures.amin() < 0 or pictures.amax() > 1):
        low, high = pictures.amin(dim=(1, 2, 3), keepdim=True), pictures.amax(dim=(1, 2, 3), keepdim=True)
        pictures = (pictures - low) / (high - low).clamp(min=torch.finfo(pictures.dtype).tiny)
    return pictures.clamp(0, 1).expand(-1, 3, -1, -1).permute(0, 2, 3, 1)


def _of_channels(argument: str, numbers: Statistics, default: float, channels: int) -> Tensor:
    values = torch.as_tensor(default if numbers is None else numbers, dtype=torch.float32).cpu().flatten()
    if len(values) not in (1, channels):
        raise ValueError(f"{argument}: got {len(values)} numbers; the images have {channels} channel(s)")
    return values[:, None, None]


def as_columns(maps: Drawable) -> list[Tensor]:
    """The maps of every image, one after the other, each of shape (N, h, w)."""
    if isinstance(maps, (Explanation, RivalMaps)):
        maps = maps.maps
    several = list(maps) if isinstance(maps, (list, tuple)) else [maps]
    columns: list[Tensor] = []
    for each in several:
        if not isinstance(each, (Tensor, np.ndarray)):
            raise TypeError(
                f"maps: got {type(each).__name__}; allowed are maps, a list of them, an Explanation and RivalMaps"
            )
        single = as_tensor("maps", each).detach().float().cpu()
        if single.ndim == 5 and single.shape[2] == 1:
            columns += single[:, :, 0].unbind(dim=1)
        elif single.ndim == 4 and single.shape[1] == 1:
            columns.append(single[:, 0])
        else:
            raise ValueError(f"maps: got shape {tuple(single.shape)}; allowed are (N, 1, h, w) and (N, K, 1, h, w)")
    return columns


def scaled(columns: Sequence[Tensor], pictures: Tensor, *, positive: bool, limits: Limits) -> Tensor:
    """The maps at the size of the pictures, their strongest value being 1 or -1.

    Upsampled bilinearly; with ``positive`` what is below zero is zero. Shapes: K times (N, h, w) -> (N, K, H, W).
    """
    if limits not in get_args(Limits):
        raise ValueError(f"limits: got {limits!r}; allowed are {', '.join(map(repr, get_args(Limits)))}")
    n, height, width = pictures.shape[:3]
    if any(len(column) != n for column in columns):
        got = ", ".join(str(len(column)) for column in columns)
        raise ValueError(f"maps: got maps of {got} images; there are {n}")
    if not columns or not n:
        return torch.zeros(n, len(columns), height, width)
    large = [interpolate(column[:, None], (height, width), mode="bilinear") for column in columns]
    values = torch.cat(large, dim=1)
    values = values.relu() if positive else values
    largest = values.abs().amax(dim=(1, 2, 3) if limits == "image" else (2, 3), keepdim=True)
    return values / largest.masked_fill(largest == 0, 1)


def _colours(values: np.ndarray[Any, Any], positive: bool) -> np.ndarray[Any, Any]:
    """Values from 0 to 1 in colour, with an axis of red, green and blue."""
    import matplotlib as mpl

    colours: np.ndarray[Any, Any] = mpl.colormaps[_POSITIVE if positive else _SIGNED](values)[..., :3]
    return colours.astype(np.float32)


def over(pictures: Tensor, values: Tensor, positive: bool) -> np.ndarray[Any, Any]:
    """Shapes: (N, H, W, 3), (N, K, H, W) in -1 to 1 -> (N, K, H, W, 3)."""
    grey = pictures.mean(dim=-1)[:, None, ..., None].numpy()
    coloured = _colours((values if positive else (values + 1) / 2).numpy(), positive)
    blended: np.ndarray[Any, Any] = _OPACITY * coloured + (1 - _OPACITY) * grey
    return blended


def blended_colours(positive: bool = False) -> ListedColormap:
    """The colours of maps as they look over an image that is grey on average, for a scale beside it.

    Example:
        >>> from captum_diffcam.figures import blended_colours
        >>> blended_colours().N
        256
    """
    from matplotlib.colors import ListedColormap

    return ListedColormap(_OPACITY * _colours(np.linspace(0, 1, 256), positive) + (1 - _OPACITY) * 0.5)


def class_name(classes: Sequence[str] | Mapping[int, str] | None, index: int) -> str:
    """The name of a class, where names are given."""
    if classes is None:
        return f"class {index}"
    try:
        return str(classes[index])
    except (IndexError, KeyError):
        raise IndexError(f"classes: has no name for class {index}; there are {len(classes)}") from None


def percent(probability: float) -> str:
    """Whole percent, and what is next to nothing or to certainty as such."""
    if 0.005 <= probability < 0.995:
        return f"{probability:.0%}"
    return "<1%" if probability < 0.5 else ">99%"


def rows_of_maps(
    pictures: Tensor,
    drawn: np.ndarray[Any, Any],
    texts: Sequence[Sequence[str]],
    colours: Sequence[str],
    ends: tuple[str, str, str],
    positive: bool,
) -> Figure:
    """Rows of an image and its maps, with a text above each, and the scale of their colours below."""
    from matplotlib.figure import Figure

    n, height, width = pictures.shape[:3]
    if not n:
        raise ValueError("images: got none; allowed is at least one")
    columns, maps_there = 1 + drawn.shape[1], drawn.shape[1] > 0
    cell = min(_INCHES * height / width, 2 * _INCHES)
    lines = [[_wrapped(text) for text in row] for row in texts]
    above = [1.5 * _GAP + _LINE * max(len(text.splitlines()) for text in row) for row in lines]
    size = (columns * (_INCHES + _GAP) + _GAP, sum(above) + n * cell + _GAP + _SCALE * maps_there)
    # A Figure of its own needs no display and leaves pyplot alone.
    figure = Figure(size)

    def place(left: float, top: float, wide: float, high: float) -> Axes:
        """A box without frame and ticks, in inches from the upper left corner."""
        axes = figure.add_axes((left / size[0], 1 - (top + high) / size[1], wide / size[0], high / size[1]))
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        return axes

    top = 0.0
    for picture, maps, row, its in zip(pictures.numpy(), drawn, lines, above, strict=True):
        top += its
        for i, (shown, text, colour) in enumerate(zip((picture, *maps), row, colours, strict=True)):
            axes = place(_GAP + i * (_INCHES + _GAP), top, _INCHES, cell)
            axes.imshow(shown)
            axes.set_title(text, color=colour, fontsize=9, fontweight="normal" if i else "bold", pad=3)
        top += cell
    if maps_there:
        wide = min(size[0] - 2 * _GAP, 2 * _INCHES)
        scale = place((size[0] - wide) / 2, top + 2 * _GAP, wide, 0.13)
        scale.imshow([range(256)], cmap=blended_colours(positive), aspect="auto")
        for end, x, side in zip(ends, (0, 0.5, 1), ("left", "center", "right"), strict=True):
            scale.text(x, -0.3, end, ha=side, va="top", fontsize=9, transform=scale.transAxes)
    return figure


def _wrapped(text: str) -> str:
    """Each line of the text in at most two that fit above a picture."""
    return "\n".join(
        part for line in text.split("\n") for part in textwrap.wrap(line, _LETTERS, max_lines=2, placeholder="…")
    )
