"""Images and maps as arrays to look at: what figures are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, Union, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from captum_diffcam._checks import as_tensor
from captum_diffcam.results import Explanation, Maps, RivalMaps

if TYPE_CHECKING:
    from matplotlib.colors import ListedColormap

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
