"""Read images for figures: their colours, and the part of each that the model sees after its preprocessing."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import numpy as np
import torch
from torch import Tensor

from captum_diffcam._checks import as_tensor
from captum_diffcam.figures.seen_region import Array, seen_region

if TYPE_CHECKING:
    from PIL.Image import Image

Images: TypeAlias = Union[Tensor, Array, "Image", Sequence[Union[Tensor, Array, "Image"]]]
"""Images with one or three channels: a tensor or array, a PIL image, or a list of these of any sizes.

Shapes: ``(N, C, H, W)``, ``(N, H, W, C)``, ``(C, H, W)``, ``(H, W, C)`` or ``(H, W)``."""

Statistics: TypeAlias = Union[float, Sequence[float], Tensor, None]
"""One number for all channels, or one per channel."""

Box: TypeAlias = tuple[int, int, int, int]
"""A part of an image in pixels: top, left, bottom, right."""


@dataclass(frozen=True)
class Picture:
    """An image to look at."""

    rgb: Array
    """(H, W, 3) float32, from 0 to 1."""

    box: Box
    """The part of the image that its maps cover."""


def as_pictures(
    images: Images, mean: Statistics = None, std: Statistics = None, preprocess: object = None
) -> list[Picture]:
    """Return images in colours from 0 to 1, with the part that the model sees of each."""
    if preprocess is not None and (mean is not None or std is not None):
        raise ValueError("`preprocess` must not be combined with `mean` or `std`, because they are read from it.")
    singles = _single_images(images)
    if not singles:
        raise ValueError("`images` must hold at least one image, got none.")
    floats = [image for image, _ in singles if image.is_floating_point()]
    if floats and preprocess is not None:
        statistics = _statistics(preprocess)
        if statistics is None:
            raise ValueError(
                "`preprocess` must have a mean and a std (a torchvision or timm transform with Normalize, a mapping "
                f"with 'mean' and 'std', or a Hugging Face image processor), got {_short_repr(preprocess)}. Pass "
                "`mean` and `std` instead."
            )
        mean, std = statistics
    stretch = mean is None and std is None and any(bool(image.amin() < 0 or image.amax() > 1) for image in floats)
    boxes: dict[tuple[object, ...], Box] = {}
    pictures = []
    for image, is_tensor in singles:
        channels, height, width = image.shape
        box = (0, 0, height, width)
        transform = None if image.is_floating_point() else _callable(preprocess)
        if transform is not None:
            key = (is_tensor, *image.shape)
            if key not in boxes:
                boxes[key] = _visible_box(transform, channels, height, width, is_tensor)
            box = boxes[key]
        rgb = _normalised(image, mean, std, stretch).clamp(0, 1).expand(3, -1, -1).permute(1, 2, 0)
        pictures.append(Picture(rgb.numpy(), box))
    return pictures


def _single_images(images: Any) -> list[tuple[Tensor, bool]]:
    """Return each image as (C, H, W) on the CPU, and whether it came as a tensor."""
    if isinstance(images, (list, tuple)):
        return [single for item in images for single in _single_images(item)]
    if isinstance(images, Tensor):
        return [(image, True) for image in _channels_first(images.detach().cpu(), is_array=False)]
    if isinstance(images, np.ndarray):
        return [(image, False) for image in _channels_first(as_tensor("images", images), is_array=True)]
    if hasattr(images, "getbands"):  # a PIL image; the package does not import PIL for this check
        array = np.array(images if images.mode in ("L", "I;16") else images.convert("RGB"))
        return [(torch.from_numpy(array.reshape(*array.shape[:2], -1)).movedim(-1, 0), False)]
    raise TypeError(
        f"`images` must be a tensor, a NumPy array, a PIL image or a list of these, got {type(images).__name__}."
    )


def _channels_first(images: Tensor, is_array: bool) -> Tensor:
    """Return images as (N, C, H, W)."""
    shape = tuple(images.shape)
    if images.ndim == 2:
        return images[None, None]
    if images.ndim in (3, 4):
        batch = images if images.ndim == 4 else images[None]
        first, last = (batch.shape[dim] in (1, 3) for dim in (1, 3))
        if first and last and is_array:
            raise ValueError(
                f"`images` must show where the channels are, got an array of shape {shape}. Pass torch.from_numpy(...) "
                "of channels-first images (N, C, H, W)."
            )
        if first or last:
            return batch if first else batch.movedim(-1, 1)
    raise ValueError(
        f"`images` must have one or three channels and a shape such as (N, C, H, W) or (N, H, W, C), got shape {shape}."
    )


def _normalised(image: Tensor, mean: Statistics, std: Statistics, stretch: bool) -> Tensor:
    """Return an image in the range from 0 to 1. Shape: (C, H, W) -> (C, H, W)."""
    if not image.is_floating_point():
        return image.float() / {torch.bool: 1, torch.uint16: 65535}.get(image.dtype, 255)
    image = image.float()
    if stretch:
        return (image - image.amin()) / (image.amax() - image.amin()).clamp(min=torch.finfo(image.dtype).tiny)
    return image * _per_channel("std", std, 1.0, len(image)) + _per_channel("mean", mean, 0.0, len(image))


def _per_channel(argument: str, numbers: Statistics, default: float, channels: int) -> Tensor:
    values = torch.as_tensor(default if numbers is None else numbers, dtype=torch.float32).cpu().flatten()
    if len(values) not in (1, channels):
        raise ValueError(
            f"`{argument}` must have one number, or one for each of the {channels} channel(s), got {len(values)}."
        )
    return values[:, None, None]


def _statistics(preprocess: Any) -> tuple[Statistics, Statistics] | None:
    """Return the mean and the standard deviation that a preprocessing normalises with, or None if it has none."""
    if isinstance(preprocess, Mapping):
        mean, std = preprocess.get("mean"), preprocess.get("std")
    elif hasattr(preprocess, "image_processor"):
        return _statistics(preprocess.image_processor)
    elif hasattr(preprocess, "image_mean"):
        if not getattr(preprocess, "do_normalize", True):
            return 0.0, 1.0
        mean, std = preprocess.image_mean, preprocess.image_std
    else:
        mean, std = getattr(preprocess, "mean", None), getattr(preprocess, "std", None)
    if mean is not None and std is not None and not callable(mean):
        return mean, std
    steps = getattr(preprocess, "transforms", None)
    if isinstance(preprocess, torch.nn.Sequential):
        steps = list(preprocess)
    if not isinstance(steps, (list, tuple)):
        return None
    by_step = [statistics for step in steps if (statistics := _statistics(step))]
    if len(by_step) > 1:
        raise ValueError(
            f"`preprocess` must normalise once, got {len(by_step)} steps that do. Pass `mean` and `std` instead."
        )
    return by_step[0] if by_step else None


def _callable(preprocess: Any) -> Callable[[Any], Any] | None:
    """Return a preprocessing as a function from an image to a tensor, or None if it leaves the image's size alone."""
    if preprocess is None:
        return None
    if isinstance(preprocess, Mapping):
        if "crop_pct" not in preprocess:
            return None
        from timm.data.transforms_factory import create_transform

        return _callable(create_transform(**preprocess))
    preprocess = getattr(preprocess, "image_processor", preprocess)
    if hasattr(preprocess, "image_mean"):
        return lambda image: preprocess(images=image, return_tensors="pt")["pixel_values"]
    if not callable(preprocess):
        raise TypeError(
            "`preprocess` must be a transform, an image processor or a data configuration, got "
            f"{_short_repr(preprocess)}."
        )
    return preprocess  # type: ignore[no-any-return]


def _visible_box(preprocess: Callable[[Any], Any], channels: int, height: int, width: int, is_tensor: bool) -> Box:
    """Return the part of an image of this size that is left after its preprocessing."""

    def as_image(levels: Array) -> object:
        image = torch.from_numpy(np.broadcast_to(levels, (channels, height, width)).copy())
        return image if is_tensor else _to_pil(image)

    left, top, right, bottom = (round(edge) for edge in seen_region(preprocess, as_image, height, width))
    if left < -1 or top < -1 or right > width + 1 or bottom > height + 1:
        raise ValueError(
            "`preprocess` must not pad images, because an overlay has no place for the map outside the image, got a "
            f"region from ({left}, {top}) to ({right}, {bottom}) of an image of {width} x {height} pixels. Pass the "
            "preprocessed images instead of the original ones."
        )
    return max(top, 0), max(left, 0), min(bottom, height), min(right, width)


def _to_pil(image: Tensor) -> Image:
    from PIL.Image import fromarray

    return fromarray(image.permute(1, 2, 0).numpy() if len(image) > 1 else image[0].numpy())


def _short_repr(value: object) -> str:
    return textwrap.shorten(repr(value), 80, placeholder="...")
