"""Scenes of real objects: cut-out photographs over photographs, with known masks.

Any folder of PNGs with transparency and any folder of pictures can be used. By default those of Debian's packages are:
tuxpaint-stamps-default for the objects; mate-backgrounds, plasma-workspace-wallpapers and ukui-wallpapers for the
backgrounds. Their licences are the GPL, the LGPL and CC BY-SA, so no published figure shows them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from benchmarks.common.options import UsageError

SIZE = 224
STAMPS = Path("/usr/share/tuxpaint/stamps")
WALLPAPERS = (Path("/usr/share/backgrounds"), Path("/usr/share/wallpapers"))
MISSING = (
    "scenes of cut-outs are left out, because none are installed: apt install tuxpaint-stamps-default mate-backgrounds "
    "plasma-workspace-wallpapers ukui-wallpapers, or give --cutouts and --backgrounds"
)

# Folders of drawings and signs. Nearly all other stamps are photographs.
_NO_PHOTOGRAPHS = frozenset(
    ("symbols", "cartoon", "toys", "flags", "roadsigns", "plastic", "easter", "newyears", "hats", "clothes")
)
_NO_BACKGROUNDS = frozenset(("abstract", "desktop", "images_dark"))
_MIRRORED = re.compile("mirror|flip")
_FEWEST_COLOURS, _ATTEMPTS = 256, 20
_BACKGROUND = 320
"""The shorter side of a loaded background, in pixels."""


@dataclass(frozen=True)
class Material:
    """The files that scenes are made of."""

    cutouts: tuple[Path, ...]
    backgrounds: tuple[Path, ...]

    def halves(self, seed: int) -> tuple[Material, Material]:
        """Return two parts without common objects or backgrounds: for the attacker, and for the reported results."""
        order = np.random.default_rng(seed)
        parts = []
        for files in (self.cutouts, self.backgrounds):
            shuffled = [files[i] for i in order.permutation(len(files))]
            parts.append((tuple(shuffled[::2]), tuple(shuffled[1::2])))
        (first, second), (third, fourth) = parts
        return Material(first, third), Material(second, fourth)


@dataclass(frozen=True)
class CutoutScenes:
    """Composed images with K objects at most. Shapes: images (N, 3, H, W), masks (N, K, H, W), objects (N, K)."""

    images: Tensor
    """Values from 0 to 1."""
    masks: Tensor
    """The visible part of each object; later objects cover earlier ones. Empty if there is no object."""
    objects: Tensor
    """The index of the cut-out in the material, -1 if there is no object."""


def find_material(cutouts: Path | None = None, backgrounds: Path | None = None) -> Material | None:
    """Return the files in these folders, or in those of Debian's packages. None if there are too few.

    Raises:
        UsageError: a folder that was given has fewer than 2 pictures.
    """
    objects = _files(cutouts or STAMPS, (".png",))
    objects = [file for file in objects if not _NO_PHOTOGRAPHS & set(file.parts) and not _MIRRORED.search(file.stem)]
    roots = [backgrounds] if backgrounds else WALLPAPERS
    behind = [file for root in roots for file in _files(root, (".jpg", ".jpeg", ".png"))]
    behind = [file for file in behind if not _NO_BACKGROUNDS & set(file.parts) and file.stem != "screenshot"]
    for option, folder, files in (("--cutouts", cutouts, objects), ("--backgrounds", backgrounds, behind)):
        if folder is not None and len(files) < 2:
            raise UsageError(f"{option} must have at least 2 suitable pictures, got {len(files)} in {str(folder)!r}")
    if len(objects) < 2 or len(behind) < 2:
        return None
    # The sizes of one wallpaper share a folder.
    largest: dict[Path, Path] = {}
    for file in behind:
        picture = file.parent if file.parent.name == "images" else file
        if picture not in largest or file.stat().st_size > largest[picture].stat().st_size:
            largest[picture] = file
    return Material(tuple(objects), tuple(largest.values()))


def _files(root: Path, suffixes: tuple[str, ...]) -> list[Path]:
    return [file for file in sorted(root.rglob("*")) if file.suffix.lower() in suffixes and not file.is_symlink()]


def compose(
    material: Material,
    count: int,
    seed: int,
    *,
    size: int = SIZE,
    objects: tuple[int, int] = (0, 3),
    side: tuple[float, float] = (0.25, 0.7),
) -> CutoutScenes:
    """Return scenes of random objects at random positions over a part of a random background.

    Args:
        material: the files.
        count: the number of scenes.
        seed: of all random choices.
        size: height and width in pixels.
        objects: the least and the largest number of objects in a scene.
        side: the range of the longer side of an object, as a share of the scene's.
    """
    rng = np.random.default_rng(seed)
    most = max(objects[1], 1)
    images = np.empty((count, size, size, 3), dtype=np.uint8)
    masks = np.zeros((count, most, size, size), dtype=bool)
    which = np.full((count, most), -1)
    for image, of_objects, names in zip(images, masks, which, strict=True):
        canvas = _background(rng, material, size)
        for k in range(rng.integers(objects[0], objects[1] + 1)):
            names[k] = rng.integers(len(material.cutouts))
            cut = _object(rng, material.cutouts[names[k]], round(size * rng.uniform(*side)))
            left, top = (int(rng.integers(0, size - length + 1)) for length in cut.size)
            canvas.paste(cut, (left, top), cut)
            seen = np.zeros((size, size), dtype=bool)
            seen[top : top + cut.height, left : left + cut.width] = np.asarray(cut)[:, :, 3] > 127
            of_objects &= ~seen
            of_objects[k] = seen
        image[:] = np.asarray(canvas)
    scenes = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).float() / 255
    return CutoutScenes(scenes, torch.from_numpy(masks), torch.from_numpy(which))


def alone(file: Path) -> Tensor:
    """Return a cut-out in the middle of grey, its longer side 0.7 of the image's. Shape: (3, SIZE, SIZE), in 0 to 1."""
    cut = _scaled(file, round(0.7 * SIZE))
    canvas = Image.new("RGB", (SIZE, SIZE), (128, 128, 128))
    canvas.paste(cut, ((SIZE - cut.width) // 2, (SIZE - cut.height) // 2), cut)
    return torch.from_numpy(np.array(canvas).transpose(2, 0, 1)).float() / 255


def _object(rng: np.random.Generator, file: Path, side: int) -> Image.Image:
    """Return the cut-out with this length of its longer side, mirrored half of the time."""
    cut = _scaled(file, side)
    return cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else cut


def _scaled(file: Path, side: int) -> Image.Image:
    cut = _loaded(file)
    scale = side / max(cut.size)
    return cut.resize((max(round(cut.width * scale), 1), max(round(cut.height * scale), 1)), Image.Resampling.BILINEAR)


def _background(rng: np.random.Generator, material: Material, size: int) -> Image.Image:
    """Return a square part of a background, with at least 0.6 of its shorter side and many colours if possible."""
    for _ in range(_ATTEMPTS):
        picture = Image.fromarray(_behind(material.backgrounds[rng.integers(len(material.backgrounds))]))
        side = int(rng.uniform(0.6, 1) * min(picture.size))
        left, top = (int(rng.integers(0, length - side + 1)) for length in picture.size)
        part = picture.resize((size, size), Image.Resampling.BILINEAR, (left, top, left + side, top + side))
        if part.getcolors(_FEWEST_COLOURS) is None:
            break
    return part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else part


@cache
def _loaded(file: Path) -> Image.Image:
    with Image.open(file) as image:
        cut = image.convert("RGBA")
    cut = cut.crop(cut.getchannel("A").getbbox())
    cut.thumbnail((SIZE, SIZE))
    return cut


@cache
def _behind(file: Path) -> NDArray[np.uint8]:
    with Image.open(file) as image:
        image.draft("RGB", (2 * _BACKGROUND, 2 * _BACKGROUND))
        picture = image.convert("RGB")
    scale = _BACKGROUND / min(picture.size)
    return np.asarray(picture.resize((round(picture.width * scale), round(picture.height * scale))))
