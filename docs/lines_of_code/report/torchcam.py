from pathlib import Path

import torch
from PIL import Image
from torchcam.explain import explain
from torchvision.models import ResNet18_Weights, resnet18

model = resnet18()
model.load_state_dict(torch.load("mine.pt"))
model.eval()
preprocess = ResNet18_Weights.DEFAULT.transforms()
for path in sorted(Path("photos").iterdir()):
    photo = Image.open(path).convert("RGB")
    result = explain(model, preprocess(photo)[None], target_layer="layer4")
    result.save(f"report/{path.stem}", photo)
