from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.image import show_cam_on_image
from torchvision.models import ResNet18_Weights, resnet18

model = resnet18()
model.load_state_dict(torch.load("mine.pt"))
preprocess = ResNet18_Weights.DEFAULT.transforms()
Path("report").mkdir()
with GradCAM(model=model, target_layers=[model.layer4]) as cam:
    for path in sorted(Path("photos").iterdir()):
        photo = Image.open(path).convert("RGB")
        grayscale_cam = cam(input_tensor=preprocess(photo)[None], targets=None)
        mask = Image.fromarray(grayscale_cam[0]).resize(photo.size)
        pixels = np.float32(photo) / 255
        visualization = show_cam_on_image(pixels, np.asarray(mask), use_rgb=True)
        Image.fromarray(visualization).save(f"report/{path.stem}.png")
