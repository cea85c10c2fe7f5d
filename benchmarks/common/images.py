"""The photographs: real ones that two installed packages carry, or the user's own."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, ImageOps

from benchmarks.common.options import SkippedError, UsageError

# Those that an ImageNet classifier has something to say of; the rest are textures, diagrams and microscopy.
PHOTOGRAPHS = {
    "skimage": [f"data/{name}" for name in ("chelsea.png", "coffee.png", "rocket.jpg", "camera.png")]
    + [f"data/{name}" for name in ("motorcycle_left.png", "astronaut.png")],
    "sklearn": ["datasets/images/china.jpg", "datasets/images/flower.jpg"],
}


def packaged_photographs() -> list[Path]:
    """The files themselves, because scikit-image's loaders would ask for a downloader."""
    found = []
    for package, files in PHOTOGRAPHS.items():
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            raise UsageError(f"the photographs need the package {package}; install the extra 'benchmarks'")
        found += [Path(spec.origin).parent / file for file in files]
    return found


def find_images(given: Iterable[str]) -> list[Path]:
    """The files among ``given``, and of each folder the images that lie in it."""
    suffixes = Image.registered_extensions()
    found = []
    for text in given:
        path = Path(text)
        if path.is_dir():
            inside = sorted(file for file in path.iterdir() if file.suffix.lower() in suffixes and file.is_file())
            if not inside:
                raise UsageError(f"--images: there is no image in the folder {text!r}")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise UsageError(f"--images: there is no file or folder {text!r}")
    return found


def load_image(path: Path) -> Image.Image:
    """The image, upright and in RGB.

    Raises:
        SkippedError: Pillow cannot read the file.
    """
    try:
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    # Pillow's readers raise all of these for broken files.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise SkippedError("no readable image") from error
