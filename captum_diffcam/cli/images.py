"""The images of a run: where they lie, how they are read, and which part of each the model sees."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import Dataset

from captum_diffcam.cli.options import UsageError
from captum_diffcam.figures.seen_region import seen_region

Box: TypeAlias = tuple[float, float, float, float]
"""Left, top, right and bottom, in pixels of the image."""

PHOTOGRAPHS = ("chelsea.png", "coffee.png", "rocket.jpg", "camera.png", "motorcycle_left.png", "astronaut.png")
"""Those of scikit-image that an ImageNet classifier has something to say of."""


class ImageFile(NamedTuple):
    """An image to explain."""

    path: Path
    name: str
    """Its path within the folder that was named, with forward slashes."""
    output: str
    """The name of what is written about it, without a suffix; no two images share one."""


@dataclass(frozen=True)
class Sample:
    """An image as the model sees it."""

    index: int
    size: tuple[int, int]
    """Width and height of the image in the file."""
    region: Box
    """The part of the image that the model sees. It exceeds the image if the preprocessing pads."""


class Batch(NamedTuple):
    """What is read at a time: the images, and why others could not be read."""

    inputs: Tensor | None
    """(N, channels, H, W); None if no image could be read."""
    samples: list[Sample]
    skipped: list[tuple[int, str]]
    """Index and reason."""
    problem: str = ""
    """Why the images cannot be put together."""


def find_images(paths: Sequence[Path] | None, out: Path) -> list[ImageFile]:
    """Return the named files and the images in the named folders, those of a folder in the order of their names.

    What lies in ``out`` does not count, so that a report inside the folder of images is not explained in turn.

    Raises:
        UsageError: A path does not exist, or there is no image at all.
    """
    if paths is None:
        return name_outputs((path, path.name) for path in _packaged_photographs())
    readable = {suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    files = []
    for path in paths:
        if path.is_dir():
            inside = (file for file in path.rglob("*") if file.suffix.lower() in readable and file.is_file())
            own = (file for file in inside if out.resolve() not in file.resolve().parents)
            files += [(file, file.relative_to(path).as_posix()) for file in sorted(own)]
        elif path.exists():
            files.append((path, path.name))
        else:
            raise UsageError(f"`--images` must name files or folders that exist, got {str(path)!r}.")
    if not files:
        folders = ", ".join(repr(str(path)) for path in paths)
        raise UsageError(f"`--images` must contain at least one image, got {folders} with none.")
    return name_outputs(files)


def name_outputs(files: Iterable[tuple[Path, str]]) -> list[ImageFile]:
    """Give each image a name of its own for what is written about it."""
    taken: set[str] = set()
    images = []
    for path, name in files:
        stem = output = PurePosixPath(name).with_suffix("").as_posix()
        number = 1
        # Some file systems do not tell capitals apart.
        while output.lower() in taken:
            number += 1
            output = f"{stem}-{number}"
        taken.add(output.lower())
        images.append(ImageFile(path, name, output))
    return images


def _packaged_photographs() -> list[Path]:
    # The files themselves, because scikit-image's loaders ask for a downloader.
    spec = find_spec("skimage")
    if spec is None or spec.origin is None:
        raise UsageError(
            "`--images` is missing, and so are the photographs that stand in for it: name a folder of images, or "
            'install them with `pip install "captum-diffcam[demo]"`.'
        )
    return [Path(spec.origin).parent / "data" / name for name in PHOTOGRAPHS]


def read_image(path: Path) -> Image.Image:
    """Return the image of a file, upright and in RGB."""
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I;16"):
            # Pillow would clip the 16 bits to white.
            upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
        if upright.mode in ("I", "F"):
            raise ValueError(f"pixels of mode {upright.mode} have no known range")
        return upright.convert("RGB")


class Images(Dataset[Any]):
    """The images in the form that the model takes, each with the region of it that the model sees."""

    def __init__(self, files: Sequence[ImageFile], preprocess: Callable[[Image.Image], Tensor]) -> None:
        self.files = files
        self.preprocess = preprocess
        self.regions: dict[tuple[int, int], Box] = {}

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Sample] | tuple[int, str]:
        """Return the image, or its index and why it cannot be read."""
        try:
            image = read_image(self.files[index].path)
            return self.preprocess(image), Sample(index, image.size, self._region(*image.size))
        except Exception as error:  # Pillow's readers raise errors of any type for broken files
            return index, one_line(error) or type(error).__name__

    def _region(self, width: int, height: int) -> Box:
        if (width, height) not in self.regions:
            self.regions[width, height] = seen_region(self.preprocess, _grey, height, width)
        return self.regions[width, height]


def _grey(levels: np.ndarray[Any, Any]) -> Image.Image:
    return Image.fromarray(levels).convert("RGB")


def as_batch(items: Sequence[tuple[Tensor, Sample] | tuple[int, str]]) -> Batch:
    """Put items of :class:`Images` together."""
    # An error would come out of a worker process with its traceback in the message, so it is a value here.
    read = [item for item in items if isinstance(item[1], Sample)]
    skipped = [item for item in items if isinstance(item[1], str)]
    inputs, samples = [image for image, _ in read], [sample for _, sample in read]
    shapes = sorted({tuple(image.shape) for image in inputs})
    if len(shapes) > 1:
        problem = (
            f"`--size` is needed: the preprocessing leaves images of different shapes, {shapes[0]} and {shapes[1]}."
        )
        return Batch(None, [], [], problem)
    return Batch(torch.stack(inputs) if inputs else None, samples, skipped)


def one_line(error: BaseException, width: int = 200) -> str:
    """Return an error's message on one line."""
    text = " ".join(str(error).split())
    return text if len(text) <= width else f"{text[: width - 3]}..."
