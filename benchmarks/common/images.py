"""Photographs: those of two installed packages, or the user's own."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

from benchmarks.common.options import SkippedError, UsageError
from captum_diffcam.cli.images import PHOTOGRAPHS as PHOTOGRAPHS_OF_SKIMAGE
from captum_diffcam.cli.images import read_image

PHOTOGRAPHS = {
    "skimage": [f"data/{name}" for name in PHOTOGRAPHS_OF_SKIMAGE],
    "sklearn": ["datasets/images/china.jpg", "datasets/images/flower.jpg"],
}


def packaged_photographs() -> list[Path]:
    """Return the files. Scikit-image's own loaders would need a downloader."""
    files = []
    for package, names in PHOTOGRAPHS.items():
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            raise UsageError(
                f"the photographs need the package {package}, which is not installed; pip install -e .[benchmarks]"
            )
        files += [Path(spec.origin).parent / name for name in names]
    return files


def find_images(paths: Iterable[str]) -> list[Path]:
    """Return the files among ``paths``, and the images in each folder among them."""
    suffixes = Image.registered_extensions()
    files = []
    for text in paths:
        path = Path(text)
        if path.is_dir():
            inside = sorted(file for file in path.iterdir() if file.suffix.lower() in suffixes and file.is_file())
            if not inside:
                raise UsageError(
                    f"--images must be image files or folders of them, got the folder {text!r} without an image"
                )
            files += inside
        elif path.is_file():
            files.append(path)
        else:
            raise UsageError(f"--images must be files or folders that exist, got {text!r}")
    return files


def load_image(path: Path) -> Image.Image:
    """Return the image, upright and in RGB.

    Raises:
        SkippedError: Pillow cannot read the file.
    """
    try:
        return read_image(path)
    # Pillow's readers raise all of these for broken files.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise SkippedError("no readable image") from error


def load_required_image(option: str, path: Path) -> Image.Image:
    """Return the image, upright and in RGB.

    Raises:
        UsageError: Pillow cannot read the file; the message names the option.
    """
    try:
        return load_image(path)
    except SkippedError as error:
        raise UsageError(f"{option} must be readable images, got {str(path)!r}: {error}") from error
