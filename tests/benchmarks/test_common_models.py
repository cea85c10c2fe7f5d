"""Models of torchvision and timm, and weights as training scripts save them."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from small_models import SMALL

from benchmarks.common.images import packaged_photographs
from benchmarks.common.models import blank_input, load_classifier
from benchmarks.common.options import UsageError


@pytest.mark.parametrize("wrapper", [lambda s: {"state_dict": s}, lambda s: {f"module.{k}": v for k, v in s.items()}])
def test_weights_as_training_scripts_save_them(small_model, tmp_path, wrapper):
    torch.save(wrapper(small_model.state_dict()), tmp_path / "checkpoint.pth")
    loaded = load_classifier(SMALL, str(tmp_path / "checkpoint.pth"), torch.device("cpu"))
    assert all(torch.equal(a, b) for a, b in zip(loaded.model.parameters(), small_model.parameters(), strict=True))


@pytest.mark.parametrize("name", ["resnet51", "timm/resnet51x"])
def test_an_unknown_model(name):
    if name.startswith("timm/"):
        pytest.importorskip("timm")
    with pytest.raises(UsageError, match=f"--model.*{name}"):
        load_classifier(name, None, torch.device("cpu"))


def test_timm_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="timm"):
        load_classifier("timm/resnet18", None, torch.device("cpu"))


def test_a_model_of_timm_with_its_preprocessing(tmp_path):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    model = timm.create_model("mobilenetv3_small_050", num_classes=5).eval()
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    classifier = load_classifier("timm/mobilenetv3_small_050", str(tmp_path / "weights.pth"), torch.device("cpu"))
    assert classifier.classes == ("class 0", "class 1", "class 2", "class 3", "class 4")
    config = timm.data.resolve_model_data_config(model)
    image = Image.open(packaged_photographs()[0]).convert("RGB")
    inputs = classifier.preprocess(image)
    torch.testing.assert_close(inputs, timm.data.create_transform(**config)(image))
    assert (classifier.preprocess.mean, classifier.preprocess.std) == (config["mean"], config["std"])
    assert inputs.shape[1:] == blank_input(classifier.preprocess).shape[2:]
    torch.testing.assert_close(classifier.model(inputs[None]), model(inputs[None]))
