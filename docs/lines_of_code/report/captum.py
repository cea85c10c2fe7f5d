from pathlib import Path

import numpy as np
import torch
from captum.attr import LayerAttribution, LayerGradCam, visualization
from PIL import Image
from torchvision.models import ResNet18_Weights, resnet18

model = resnet18()
model.load_state_dict(torch.load("mine.pt"))
model.eval()
preprocess = ResNet18_Weights.DEFAULT.transforms()
cam = LayerGradCam(model, model.layer4)
Path("report").mkdir()
for path in sorted(Path("photos").iterdir()):
    photo = Image.open(path).convert("RGB")
    images = preprocess(photo)[None]
    maps = cam.attribute(images, model(images).argmax(dim=1))
    large = LayerAttribution.interpolate(maps, photo.size[::-1], "bilinear")
    figure, _ = visualization.visualize_image_attr(
        large[0].permute(1, 2, 0).detach().numpy(),
        np.asarray(photo),
        method="blended_heat_map",
        sign="all",
        use_pyplot=False,
    )
    figure.savefig(f"report/{path.stem}.png")
