"""The numbers of the comparison against a literal computation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision
from captum.attr import LayerGradCam
from PIL import Image
from scipy.stats import spearmanr
from torch import nn
from torchvision.transforms import functional as vision

from benchmarks.common.images import packaged_photographs
from benchmarks.common.models import load_classifier
from benchmarks.common.names import LITE0
from captum_diffcam import ContrastScore, LayerDiffGradCamPlusPlus

CHELSEA, COFFEE = packaged_photographs()[:2]


class Difference(nn.Module):
    """The target's logit minus the others', literally, as a model with one output."""

    def __init__(self, model, target, reduce):
        super().__init__()
        self.model, self.target, self.reduce = model, target, reduce

    def forward(self, inputs):
        logits = self.model(inputs)
        others = torch.cat([logits[:, : self.target], logits[:, self.target + 1 :]], dim=1)
        return logits[:, self.target : self.target + 1] - self.reduce(others)


REDUCTIONS = {
    "logsumexp, every other class": lambda z: z.exp().sum(1, keepdim=True).log(),
    "mean, every other class": lambda z: z.mean(1, keepdim=True),
    "max, every other class": lambda z: z.max(1, keepdim=True).values,
    "logsumexp, top 5 rivals": lambda z: z.sort(1).values[:, -5:].exp().sum(1, keepdim=True).log(),
}


@pytest.fixture
def photograph():
    """Chelsea as EfficientNet-Lite0 takes it, cropped step by step."""
    image = vision.center_crop(vision.resize(Image.open(CHELSEA).convert("RGB"), 256), 224)
    return (vision.to_tensor(image)[None] - 0.498) / 0.502


def test_numbers_against_a_literal_computation(compare, photograph, tmp_path):
    code, record, printed = compare("--images", CHELSEA)
    assert code == 0
    (numbers,) = record["photographs"]
    model = load_classifier(LITE0, None, torch.device("cpu")).model
    names = torchvision.models.ResNet50_Weights.DEFAULT.meta["categories"]
    with torch.no_grad():
        logits = model(photograph)[0].double()
    p, order = logits.softmax(0), logits.argsort(descending=True).tolist()
    assert numbers["photograph"] == "chelsea.png"
    assert numbers["prediction"] == numbers["target"]
    assert (numbers["target"]["class"], numbers["target"]["name"]) == (order[0], "tiger cat")
    assert numbers["target"]["probability"] == pytest.approx(float(p[order[0]]), rel=1e-4)
    assert numbers["margin"] == pytest.approx(float(logits[order[0]] - logits[order[1]]), abs=1e-4)
    assert numbers["log_odds"] == pytest.approx(float((p[order[0]] / (1 - p[order[0]])).log()), abs=1e-4)
    assert [rival["name"] for rival in numbers["rivals"]] == [names[index] for index in order[1:6]]
    assert [rival["class"] for rival in numbers["rivals"]] == order[1:6]

    layer, target = model._avg_pooling, order[0]

    def grad_cam(module, index):
        return LayerGradCam(module, layer).attribute(photograph, index, attribute_to_layer_input=True).detach()

    plain = grad_cam(model, target).flatten().numpy()
    assert plain.size == 49
    for name, reduce in REDUCTIONS.items():
        found = numbers["methods"][f"DiffGradCAM {name}"]
        map_ = grad_cam(Difference(model, target, reduce), 0).flatten().numpy()
        assert found["agreement"]["LayerGradCam"]["pearson"] == pytest.approx(np.corrcoef(map_, plain)[0, 1], abs=1e-4)
        assert found["agreement"]["LayerGradCam"]["spearman"] == pytest.approx(spearmanr(map_, plain)[0], abs=2e-3)
        shares = map_.clip(0) / map_.clip(0).sum()
        assert found["entropy"] == pytest.approx(-sum(s * np.log(s) for s in shares if s), abs=1e-4)
    wrapped = grad_cam(ContrastScore(model), target).flatten().numpy()
    found = numbers["methods"]["DiffGradCAM logsumexp, every other class"]["agreement"]["LayerGradCam"]["pearson"]
    assert found == pytest.approx(np.corrcoef(wrapped, plain)[0, 1], abs=1e-4)
    for rival in numbers["rivals"]:
        map_ = grad_cam(model, target) - grad_cam(model, rival["class"])
        pearson = np.corrcoef(map_.flatten().numpy(), plain)[0, 1]
        assert rival["agreement"]["LayerGradCam"]["pearson"] == pytest.approx(pearson, abs=1e-4)
        assert rival["margin"] == pytest.approx(float(logits[target] - logits[rival["class"]]), abs=1e-4)

    def plus_plus(**contrast):
        cam = LayerDiffGradCamPlusPlus(model, layer)
        return cam.attribute(photograph, target, attribute_to_layer_input=True, **contrast).flatten().numpy()

    expected = np.corrcoef(plus_plus(), plus_plus(contrast=[]))[0, 1]
    found = numbers["methods"]["DiffGradCAM++ logsumexp, every other class"]["agreement"]["Grad-CAM++"]["pearson"]
    assert found == pytest.approx(expected, abs=1e-4)
    expected = np.corrcoef(plus_plus(contrast=[]), plain)[0, 1]
    found = numbers["methods"]["Grad-CAM++"]["agreement"]["LayerGradCam"]["pearson"]
    assert found == pytest.approx(expected, abs=1e-4)
    # The table's line is the median over photographs, of which there is one.
    assert record["methods"][1]["median"]["entropy"] == numbers["methods"][record["methods"][1]["name"]]["entropy"]
    assert "tiger cat" in (tmp_path / "out" / "photographs.csv").read_text()
    assert "Loaded pretrained" not in printed.out
    assert max(map(len, printed.out.splitlines()[:-1])) <= 100
