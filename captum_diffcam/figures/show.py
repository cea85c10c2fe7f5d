"""Figures of images and their maps, which name the classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from captum_diffcam.evidence import evidence_in
from captum_diffcam.figures.captions import ClassNames, Probabilities, bar_words, rival_texts, target_texts
from captum_diffcam.figures.images import Images, Picture, Statistics, as_pictures
from captum_diffcam.figures.overlays import Drawable, Limits, are_finite, as_columns, map_scales, paint
from captum_diffcam.figures.rows import AGAINST, FOR, Cell, draw_rows
from captum_diffcam.results import Explanation, RivalMaps

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LONGEST = 800
"""The longest side of an image in a figure, in pixels. A figure of many photographs would not fit into memory."""


def show_maps(
    images: Images,
    maps: Drawable | Mapping[str, Drawable],
    *,
    classes: ClassNames = None,
    probabilities: Probabilities | None = "auto",
    positive: bool = False,
    limits: Limits = "image",
    unit: str = "",
    boxes: Mapping[str, Any] | None = None,
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
        boxes: regions by name, each a box (x0, y0, x1, y1) in pixels of the images, or a box for each image, (N, 4).
            They are outlined, and the text above a map says how much of the signed map lies in each, as
            :func:`~captum_diffcam.evidence_in` computes it.
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
    by_title = maps if isinstance(maps, Mapping) else {"": maps}
    columns: list[Tensor] = []
    texts: list[list[str | None]] = []
    titles: list[str] = []
    for title, drawable in by_title.items():
        above = rival_texts(drawable, classes, probabilities) if isinstance(drawable, (Explanation, RivalMaps)) else []
        for i, column in enumerate(as_columns(drawable)):
            columns.append(column)
            # With several layers, the rivals come again for each layer.
            texts.append(above[i % len(above)] if above else [""] * len(column))
            titles.append("" if i else title)
    full_size = as_pictures(images, mean, std, preprocess)
    pictures = [_shrunk(picture) for picture in full_size]
    regions = _regions(boxes or {}, len(pictures))
    scales = map_scales(columns, len(pictures), positive, limits)
    results = [drawable for drawable in by_title.values() if isinstance(drawable, (Explanation, RivalMaps))]
    names = target_texts(results[0], classes, probabilities) if results else [""] * len(pictures)
    in_favour, against = (FOR, AGAINST) if results and not positive else ("black", "black")
    finite = [are_finite(column).tolist() for column in columns]
    rows = []
    for i, picture in enumerate(pictures):
        outlines = _outlines(regions[i], full_size[i], picture)
        row = [Cell(picture.rgb, names[i], in_favour, outlines=outlines)]
        drawn = paint(picture, [column[i] for column in columns], scales[i], positive)
        for j, image in enumerate(drawn):
            text, note = texts[j][i], "" if finite[j][i] else "map is not finite"
            if text is None:
                row.append(Cell(None, note=note))
                continue
            evidence = _evidence(columns[j][i], boxes or {}, regions[i], full_size[i])
            row.append(Cell(image, "\n".join([text, *evidence] if text else evidence), against, note, outlines))
        rows.append(row)
    if not isinstance(maps, Mapping):
        all_named = all(any(column) for column in texts)
        titles = [] if all_named else ["map"] if len(columns) == 1 else [f"map {i + 1}" for i in range(len(columns))]
    shared = {"batch": 1, "image": len(scales), "map": scales.numel()}[limits] == 1
    largest = float(scales.max()) if scales.numel() else 0.0
    remarks = [] if shared else [f"Each {limits} has its own scale."]
    if any(picture.box != (0, 0, *picture.rgb.shape[:2]) for picture in pictures):
        remarks.append("The model does not see the dark borders.")
    return draw_rows(
        rows,
        bar_words(results, classes, positive),
        positive,
        headings=["image", *titles] if titles else (),
        numbers=_numbers(largest, unit, positive) if shared and largest else None,
        remark="\n".join(remarks),
    )


def show_rivals(images: Images, rivals: RivalMaps, **options: Any) -> Figure:
    """Draw why the model prefers a class to its rivals: a row per image, with a map against each rival.

    Args:
        images: as in :func:`overlay`.
        rivals: what :meth:`~captum_diffcam.LayerDiffGradCam.attribute_rivals` returns for a single layer.
        options: the keyword arguments of :func:`show_maps`.

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
    return show_maps(images, rivals, **options)


def _regions(boxes: Mapping[str, Any], images: int) -> Tensor:
    """Return the boxes of each image. Shape: (N, R, 4)."""
    regions = []
    for name, box in boxes.items():
        try:
            numbers = torch.as_tensor(box, dtype=torch.float32, device="cpu")
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(f"`boxes` must have numbers for {name!r}, got {box!r}.") from error
        if tuple(numbers.shape) not in ((4,), (images, 4)):
            raise ValueError(
                f"`boxes` must have a box (x0, y0, x1, y1) for {name!r}, or one for each of {images} image(s), got "
                f"shape {tuple(numbers.shape)}."
            )
        regions.append(numbers.expand(images, 4))
    return torch.stack(regions, dim=1) if regions else torch.zeros(images, 0, 4)


def _evidence(single_map: Tensor, boxes: Mapping[str, Any], regions: Tensor, picture: Picture) -> list[str]:
    """Return a line for each box: its name, and how much of the map (h, w) lies in it."""
    if not boxes:
        return []
    top, left, bottom, right = picture.box
    inside = regions - torch.tensor([left, top, left, top])
    evidence = evidence_in(single_map[None, None], boxes=inside[None], image_size=(bottom - top, right - left))
    return [f"{name}: {value:+.2g}" for name, value in zip(boxes, evidence[0].tolist(), strict=True)]


def _outlines(regions: Tensor, picture: Picture, drawn: Picture) -> list[tuple[float, ...]]:
    """Return boxes (R, 4) in pixels of the image as it is drawn."""
    factors = [new / old for new, old in zip(drawn.rgb.shape[:2], picture.rgb.shape[:2], strict=True)]
    return [tuple(box) for box in (regions * torch.tensor([factors[1], factors[0]] * 2)).tolist()]


def _numbers(largest: float, unit: str, positive: bool) -> tuple[str, str, str]:
    """Return the numbers at the two ends and the middle of the colour bar."""
    last = f"{largest:.3g} {unit}".strip()
    return ("0", f"{largest / 2:.3g}", last) if positive else (f"\N{MINUS SIGN}{largest:.3g}", "0", f"+{last}")


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
