"""Models, weights and preprocessing of the command line, from every library and kind of file."""

from __future__ import annotations

import json
import sys
import warnings

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import nn

from captum_diffcam.cli import main
from captum_diffcam.cli.images import read_image
from captum_diffcam.cli.models import Normalization, load_classifier

NOTHING = Normalization(None, None, None)
MODULE = """
from torch import nn

def small(num_classes=5):
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(4, num_classes))

def fixed():
    return small()
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "theirs.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "theirs", raising=False)
    # As for a console script, the current folder is not searched.
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", str(tmp_path))])
    yield tmp_path
    sys.modules.pop("theirs", None)


@pytest.fixture
def photograph():
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (90, 130, 3), dtype=np.uint8))


def trained(classes=7):
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes)]
    model = nn.Sequential(*layers)
    model[1].running_mean.fill_(0.25)
    return model.eval()


def same(model, other):
    x = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return torch.equal(model(x), other(x))


def prefixed(state, prefix):
    return {prefix + name: tensor for name, tensor in state.items()}


LAYOUTS = {
    "state dict": lambda state: state,
    "DataParallel": lambda state: prefixed(state, "module."),
    "Lightning": lambda state: {"state_dict": prefixed(state, "model."), "epoch": 3, "hyper_parameters": {"lr": 0.1}},
    "Lightning of DataParallel": lambda state: {"state_dict": prefixed(state, "model.module.")},
    "Lightning with a loss": lambda state: {"state_dict": prefixed(state, "net.") | {"loss.weight": torch.ones(7)}},
    "compiled": lambda state: {"model": prefixed(state, "_orig_mod."), "optimizer": {"step": 3}},
    "model_state_dict": lambda state: {"model_state_dict": state},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_of_every_layout_fit_a_head_of_their_size(folder, layout):
    model = trained()
    torch.save(LAYOUTS[layout](model.state_dict()), "trained.pt")
    loaded = load_classifier("theirs:small", folder / "trained.pt", NOTHING)
    assert same(loaded.model, model)
    assert not loaded.model.training


def test_weights_of_safetensors(folder):
    safetensors = pytest.importorskip("safetensors.torch")
    model = trained()
    safetensors.save_file(prefixed(model.state_dict(), "model."), "trained.safetensors")
    assert same(load_classifier("theirs:small", folder / "trained.safetensors", NOTHING).model, model)


def refused(capsys, *arguments):
    """What is said of these arguments, which must be wrong use."""
    capsys.readouterr()
    Image.new("RGB", (40, 40)).save("plain.png")
    assert main(["explain", "--images", "plain.png", "--workers", "0", *arguments]) == 2
    return capsys.readouterr().err


def test_weights_that_do_not_fit_are_refused_by_the_names_of_their_keys(folder, capsys):
    state = trained().state_dict()
    torch.save({**{k: v for k, v in state.items() if k != "0.bias"}, "extra.weight": torch.ones(2)}, "other.pt")
    message = refused(capsys, "--model", "theirs:small", "--weights", "other.pt")
    assert "0.bias" in message
    assert "extra.weight" in message
    torch.save({**state, "0.weight": torch.ones(9, 3, 3, 3)}, "other.pt")
    assert "0.weight (9, 3, 3, 3)" in refused(capsys, "--model", "theirs:small", "--weights", "other.pt")
    # This function takes no number of classes.
    torch.save(state, "other.pt")
    assert "4.weight (7, 4)" in refused(capsys, "--model", "theirs:fixed", "--weights", "other.pt")


def test_files_of_anything_but_tensors_are_refused(folder, capsys):
    torch.save(trained(), "whole.pt")
    torch.save({"epoch": 3}, "epoch.pt")
    (folder / "text.pt").write_text("no weights")
    (folder / "text.safetensors").write_text("no weights")
    for name in ("whole.pt", "epoch.pt", "text.pt", "text.safetensors"):
        assert name in refused(capsys, "--model", "theirs:small", "--weights", name)


def test_two_models_in_one_file_are_refused(folder, capsys):
    state = trained().state_dict()
    torch.save({"state_dict": prefixed(state, "student.") | prefixed(state, "teacher.")}, "two.pt")
    message = refused(capsys, "--model", "theirs:small", "--weights", "two.pt")
    assert "student." in message
    # Of which the one that Lightning calls the model is meant.
    torch.save({"state_dict": prefixed(state, "model.") | prefixed(state, "teacher.")}, "two.pt")
    assert same(load_classifier("theirs:small", folder / "two.pt", NOTHING).model, trained())


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "torchvision/squeezenet1_1"])
def test_a_model_of_torchvision_with_a_head_of_the_files_size(tmp_path, name, photograph):
    plain = name.removeprefix("torchvision/")
    model = torchvision.models.get_model(plain, num_classes=3).eval()
    torch.save({"state_dict": prefixed(model.state_dict(), "model.")}, tmp_path / "trained.ckpt")
    loaded = load_classifier(name, tmp_path / "trained.ckpt", NOTHING)
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(loaded.model(x), model(x))
    expected = torchvision.models.get_model_weights(plain).DEFAULT.transforms()(photograph)
    assert torch.equal(loaded.preprocess(photograph), expected)


def test_statistics_of_the_command_line_go_before_those_of_the_library(tmp_path, photograph):
    model = torchvision.models.mobilenet_v3_small(num_classes=3)
    torch.save(model.state_dict(), tmp_path / "trained.pt")
    halves = Normalization(None, (0.5,) * 3, (0.25,) * 3)
    transform = torchvision.models.MobileNet_V3_Small_Weights.DEFAULT.transforms(mean=(0.5,) * 3, std=(0.25,) * 3)
    loaded = load_classifier("mobilenet_v3_small", tmp_path / "trained.pt", halves)
    assert torch.equal(loaded.preprocess(photograph), transform(photograph))
    loaded = load_classifier("mobilenet_v3_small", tmp_path / "trained.pt", halves._replace(size=(32, 48)))
    image = loaded.preprocess(Image.new("RGB", (90, 70), (255, 0, 0)))
    assert image.shape == (3, 32, 48)
    assert image[:, 5, 5].tolist() == [2, -2, -2]


def test_a_model_of_timm(tmp_path, photograph):
    timm = pytest.importorskip("timm")
    model = timm.create_model("test_vit.r160_in1k", num_classes=3).eval()
    torch.save(model.state_dict(), tmp_path / "trained.pt")
    loaded = load_classifier("timm/test_vit.r160_in1k", tmp_path / "trained.pt", NOTHING)
    config = timm.data.resolve_model_data_config(model)
    expected = timm.data.create_transform(**config, is_training=False)(photograph)
    assert torch.equal(loaded.preprocess(photograph), expected)
    assert torch.equal(loaded.model(expected[None]), model(expected[None]))
    ours = load_classifier("timm/test_vit.r160_in1k", tmp_path / "trained.pt", Normalization(None, (0.1,) * 3, None))
    other = timm.data.create_transform(**{**config, "mean": (0.1,) * 3}, is_training=False)(photograph)
    assert torch.equal(ours.preprocess(photograph), other)


def test_a_model_of_hugging_face(tmp_path, photograph, monkeypatch, capsys):
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=32,
        patch_size=8,
        id2label={0: "ant", 1: "bee", 2: "cow"},
        label2id={"ant": 0, "bee": 1, "cow": 2},
    )
    monkeypatch.chdir(tmp_path)
    transformers.ViTForImageClassification(config).save_pretrained("vit")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        processor = transformers.ViTImageProcessor(size={"height": 32, "width": 32})
    processor.save_pretrained("vit")
    photograph.save("photograph.png")
    arguments = ["explain", "--images", "photograph.png", "--workers", "0", "--target", "bee", "--model", "hf/vit"]
    assert main(arguments) == 0
    manifest = json.loads((tmp_path / "report" / "manifest.json").read_text())
    assert manifest["classes"] == ["ant", "bee", "cow"]
    assert manifest["layout"] == "vit"
    assert np.load(tmp_path / "report" / "maps" / "photograph.npz")["maps"].shape == (1, 4, 4)
    loaded = load_classifier("hf/vit", None, NOTHING)
    expected = processor(images=photograph, return_tensors="pt")["pixel_values"][0]
    assert torch.equal(loaded.preprocess(photograph), expected)
    (tmp_path / "vit" / "preprocessor_config.json").unlink()
    assert "--size" in refused(capsys, "--model", "hf/vit", "--out", "other")


@pytest.mark.parametrize("name", ["resnet5", "torchvision/resnet5", "timm/resnet5", "hf/nowhere/at-all", "lost:build"])
def test_models_that_do_not_exist_are_refused(folder, name, capsys, monkeypatch):
    pytest.importorskip({"timm": "timm", "hf": "transformers"}.get(name.split("/")[0], "torchvision"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "--model" in refused(capsys, "--model", name)


def test_the_model_without_a_name_explains_photographs_without_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["explain", "--workers", "0"]) == 0
    manifest = json.loads((tmp_path / "report" / "manifest.json").read_text())
    names = {image["file"]: image["prediction"]["name"] for image in manifest["images"]}
    assert names["coffee.png"] == "espresso"
    assert names["camera.png"] == "tripod"
    white = load_classifier("efficientnet-lite0", None, NOTHING).preprocess(Image.new("RGB", (300, 300), "white"))
    torch.testing.assert_close(white, torch.full((3, 224, 224), 1.0))  # (1 - 0.498) / 0.502


def test_images_are_read_upright_and_with_their_range(tmp_path):
    wide = Image.new("RGB", (20, 10), "red")
    exif = wide.getexif()
    exif[0x0112] = 6  # turned by a quarter
    wide.save(tmp_path / "turned.jpg", exif=exif)
    assert read_image(tmp_path / "turned.jpg").size == (10, 20)
    Image.fromarray(np.full((4, 4), 128 * 256, dtype=np.uint16)).save(tmp_path / "deep.png")
    assert read_image(tmp_path / "deep.png").getpixel((0, 0)) == (128, 128, 128)
    Image.fromarray(np.full((4, 4), 0.5, dtype=np.float32)).save(tmp_path / "float.tiff")
    with pytest.raises(ValueError, match="mode F"):
        read_image(tmp_path / "float.tiff")
