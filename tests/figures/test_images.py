"""Images as figures show them, and the part of each that the model sees."""

from __future__ import annotations

import numpy as np
import PIL.Image
import pytest
import torch
from nets import images
from torch import nn

from captum_diffcam.figures import overlay, show_maps

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)


def shown(image_or_images, **keywords):
    """The images of a figure, each of shape (H, W, 3)."""
    count = keywords.pop("count", 1)
    figure = show_maps(image_or_images, torch.zeros(count, 1, 1, 1), **keywords)
    return [np.asarray(axes.images[0].get_array()) for axes in figure.axes[: 2 * count : 2]]


def normalised(x):
    return (x - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def test_floating_point_images():
    x = images(2, size=4)
    last = x.permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(shown(x, count=2), last)
    np.testing.assert_allclose(shown(x.numpy(), count=2), last)
    np.testing.assert_allclose(shown(normalised(x), count=2, mean=MEAN, std=STD), last, atol=1e-6)
    np.testing.assert_allclose(shown((x - 0.5) / 0.2, count=2, mean=0.5, std=torch.tensor(0.2)), last, atol=1e-6)
    stretched = [(image - image.min()) / (image.max() - image.min()) for image in normalised(x)]
    np.testing.assert_allclose(shown(normalised(x), count=2), torch.stack(stretched).permute(0, 2, 3, 1), atol=1e-6)
    assert not shown(torch.full((1, 1, 2, 2), -3.0))[0].any()


def test_integers_are_drawn_as_they_are():
    x = (images(1, size=4) * 255).round()
    expected = (x[0] / 255).permute(1, 2, 0).numpy()
    eight = x.to(torch.uint8)
    for as_given in (eight, eight.numpy(), eight.int(), [eight[0]], (x.numpy() * 257).astype(np.uint16)):
        np.testing.assert_allclose(shown(as_given)[0], expected, atol=1e-6)
        np.testing.assert_allclose(shown(as_given, mean=0.5, std=0.1)[0], expected, atol=1e-6)
    assert shown(x > 300)[0].max() == 0
    assert shown(x > -1)[0].min() == 1


def test_single_images_and_channels_last():
    x = images(2, size=5)
    last = x.permute(0, 2, 3, 1)
    for as_given in (x[0], x[0].numpy(), last[0], last[0].numpy(), [x[0]], (last[0].numpy(),), [x[:1]]):
        np.testing.assert_array_equal(shown(as_given)[0], last[0])
    for as_given in (last, last.numpy(), [x[0], last[1].numpy()], [x[:1], x[1:]], last.flip(2).flip(2)):
        np.testing.assert_array_equal(shown(as_given, count=2), last)
    grey = x[0, 0]
    for as_given in (grey, grey.numpy(), grey[None], grey[..., None].numpy(), grey[None, None]):
        np.testing.assert_array_equal(shown(as_given)[0], np.repeat(grey[..., None].numpy(), 3, axis=2))


def test_pil_images():
    pixels = np.arange(60, dtype=np.uint8).reshape(4, 5, 3) * 4
    colour = PIL.Image.fromarray(pixels)
    np.testing.assert_allclose(shown(colour)[0], pixels / 255, atol=1e-6)
    np.testing.assert_allclose(shown(colour, mean=0.5, std=0.1)[0], pixels / 255, atol=1e-6)
    np.testing.assert_allclose(shown(colour.convert("RGBA"))[0], pixels / 255, atol=1e-6)
    grey = colour.convert("L")
    np.testing.assert_allclose(shown(grey)[0][..., 1], np.asarray(grey) / 255, atol=1e-6)
    assert shown(colour.convert("1"))[0].max() == 1
    two = overlay([colour, grey.resize((9, 8))], torch.ones(2, 1, 2, 2))
    assert [image.shape for image in two] == [(4, 5, 3), (8, 9, 3)]


def crop(image):
    """The middle half of an image whose sides are multiples of four, as a normalised tensor."""
    array = torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255
    height, width = array.shape[1:]
    return normalised(array[:, height // 4 : -height // 4, width // 4 : -width // 4])


crop.mean, crop.std = MEAN, STD


def covered(drawn, image):
    """The rows and the columns of a picture that its map covers, from the first to the last."""
    coloured = np.ptp(drawn, axis=2) > 0.02
    return [
        (int(np.flatnonzero(coloured.any(axis=i))[0]), int(np.flatnonzero(coloured.any(axis=i))[-1])) for i in (1, 0)
    ]


@pytest.mark.parametrize("kind", ["pil", "array"])
def test_a_map_covers_what_the_model_sees(kind):
    pixels = np.full((40, 80, 3), 128, np.uint8)
    image = PIL.Image.fromarray(pixels) if kind == "pil" else pixels
    drawn = overlay([image], torch.ones(1, 1, 2, 2), preprocess=crop)[0]
    assert covered(drawn, pixels) == [(10, 29), (20, 59)]
    assert covered(overlay([image], torch.ones(1, 1, 2, 2))[0], pixels) == [(0, 39), (0, 79)]
    inside = overlay(torch.full((1, 3, 20, 40), 128 / 255), torch.ones(1, 1, 2, 2))[0]
    np.testing.assert_allclose(drawn[10:30, 20:60], inside, atol=1e-6)
    np.testing.assert_allclose(drawn[:10], 0.5 * 128 / 255, atol=1e-6)
    figure = show_maps([image], torch.ones(1, 1, 2, 2), preprocess=crop)
    assert any("border" in text.get_text() for text in figure.texts)
    figure = show_maps([image], torch.ones(1, 1, 2, 2))
    assert not any("border" in text.get_text() for text in figure.texts)


def test_preprocessed_images_are_covered_and_normalised_back():
    x = images(1, size=8)
    last = x[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(shown(normalised(x), preprocess=crop)[0], last, atol=1e-6)
    drawn = overlay(normalised(x), torch.ones(1, 1, 2, 2), preprocess=crop)
    np.testing.assert_allclose(drawn, overlay(x, torch.ones(1, 1, 2, 2)), atol=1e-6)


class Normalize(nn.Module):
    """A step as torchvision and timm have it."""

    def __init__(self, mean, std):
        super().__init__()
        self.mean, self.std = torch.tensor(mean), torch.tensor(std)

    def forward(self, x):
        return (x - self.mean[:, None, None]) / self.std[:, None, None]


class Compose:
    def __init__(self, *transforms):
        self.transforms = list(transforms)


class Processor:
    """As Hugging Face has them."""

    image_mean, image_std = list(MEAN), list(STD)

    def __init__(self, do_normalize=True):
        self.do_normalize = do_normalize


class Both:
    """A processor of texts and images."""

    image_processor = Processor()


STATED = {
    "attributes": crop,
    "steps": Compose(abs, Normalize(MEAN, STD)),
    "steps within steps": Compose(abs, Compose(Normalize(MEAN, STD))),
    "modules": nn.Sequential(nn.Identity(), Normalize(MEAN, STD)),
    "mapping": {"mean": MEAN, "std": STD, "input_size": (3, 8, 8)},
    "image processor": Processor(),
    "processor": Both(),
}


@pytest.mark.parametrize("kind", STATED)
def test_mean_and_std_are_read_from_the_preprocessing(kind):
    x = images(1, size=8)
    result = shown(normalised(x), preprocess=STATED[kind])[0]
    np.testing.assert_allclose(result, x[0].permute(1, 2, 0), atol=1e-6)


def test_a_processor_that_does_not_normalise():
    x = images(1, size=8)
    np.testing.assert_allclose(shown(x, preprocess=Processor(do_normalize=False))[0], x[0].permute(1, 2, 0), atol=1e-6)


def pad(image):
    return nn.functional.pad(crop(image), (30, 30, 0, 0))


@pytest.mark.parametrize("change", [pad, lambda x: crop(x).flip(2), lambda x: crop(x).mT, lambda x: crop(x).square()])
def test_what_cannot_be_followed_is_refused(change):
    image = PIL.Image.fromarray(np.full((80, 80, 3), 128, np.uint8))
    with pytest.raises(ValueError, match="`preprocess` must"):
        overlay(image, torch.ones(1, 1, 2, 2), preprocess=change)


def test_torchvision():
    transforms = pytest.importorskip("torchvision.transforms")
    presets = pytest.importorskip("torchvision.transforms._presets")
    image = PIL.Image.fromarray(np.full((100, 200, 3), 100, np.uint8))
    steps = [transforms.Resize(60), transforms.CenterCrop(48), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    preset = presets.ImageClassification(crop_size=48, resize_size=60, mean=MEAN, std=STD)
    for preprocess in (transforms.Compose(steps), preset):
        drawn = overlay(image, torch.ones(1, 1, 2, 2), preprocess=preprocess)[0]
        (top, bottom), (left, right) = covered(drawn, image)
        np.testing.assert_allclose([top, bottom + 1, left, right + 1], [10, 90, 60, 140], atol=1)
        np.testing.assert_allclose(shown(preprocess(image), preprocess=preprocess)[0], 100 / 255, atol=2e-3)
    tensor = torch.full((3, 100, 200), 100, dtype=torch.uint8)
    (top, bottom), (left, right) = covered(overlay(tensor, torch.ones(1, 1, 2, 2), preprocess=preset)[0], tensor)
    np.testing.assert_allclose([top, bottom + 1, left, right + 1], [10, 90, 60, 140], atol=1)
    grey = transforms.Compose([transforms.Grayscale(), *steps[:3]])
    (top, bottom), _ = covered(overlay(image, torch.ones(1, 1, 2, 2), preprocess=grey)[0], image)
    assert (top, bottom + 1) == (10, 90)


def test_timm():
    data = pytest.importorskip("timm.data")
    config = {"input_size": (3, 48, 48), "mean": MEAN, "std": STD, "crop_pct": 0.8, "crop_mode": "center"}
    config["interpolation"] = "bicubic"
    image = PIL.Image.fromarray(np.full((100, 200, 3), 100, np.uint8))
    for preprocess in (config, data.create_transform(**config)):
        (top, bottom), (left, right) = covered(overlay(image, torch.ones(1, 1, 2, 2), preprocess=preprocess)[0], image)
        np.testing.assert_allclose([top, bottom + 1, left, right + 1], [10, 90, 60, 140], atol=1)
    x = images(1, size=8)
    np.testing.assert_allclose(shown(normalised(x), preprocess=config)[0], x[0].permute(1, 2, 0), atol=1e-6)


def test_transformers():
    transformers = pytest.importorskip("transformers")
    image = PIL.Image.fromarray(np.full((100, 200, 3), 100, np.uint8))
    for processor, box in (
        (transformers.ViTImageProcessor(size={"height": 48, "width": 48}), [0, 100, 0, 200]),
        (
            transformers.CLIPImageProcessor(size={"shortest_edge": 60}, crop_size={"height": 48, "width": 48}),
            [10, 90, 60, 140],
        ),
    ):
        (top, bottom), (left, right) = covered(overlay(image, torch.ones(1, 1, 2, 2), preprocess=processor)[0], image)
        np.testing.assert_allclose([top, bottom + 1, left, right + 1], box, atol=1)
        inputs = processor(images=image, return_tensors="pt")["pixel_values"]
        np.testing.assert_allclose(shown(inputs, preprocess=processor)[0], 100 / 255, atol=2e-3)


@pytest.mark.parametrize(
    ("call", "error", "argument"),
    [
        (lambda x, m: overlay("image.png", m), TypeError, "images"),
        (lambda x, m: overlay([x, None], m), TypeError, "images"),
        (lambda x, m: overlay(x[:0], m[:0]), ValueError, "images"),
        (lambda x, m: overlay([], m[:0]), ValueError, "images"),
        (lambda x, m: overlay(torch.rand(3, 4, 9, 9), m), ValueError, "images"),
        (lambda x, m: overlay(torch.rand(3, 3, 9, 9, 9), m), ValueError, "images"),
        (lambda x, m: overlay(np.ones((3, 3, 9, 3)), m), ValueError, "images"),
        (lambda x, m: overlay(np.array([["a"]]), m), TypeError, "images"),
        (lambda x, m: overlay(x, m, mean=(0.5, 0.5)), ValueError, "mean"),
        (lambda x, m: overlay(x, m, std=(0.5, 0.5)), ValueError, "std"),
        (lambda x, m: overlay(x, m, preprocess=crop, mean=0.5), ValueError, "preprocess"),
        (lambda x, m: overlay(x, m, preprocess=lambda image: image), ValueError, "preprocess"),
        (lambda x, m: overlay(x, m, preprocess=Compose(abs)), ValueError, "preprocess"),
        (lambda x, m: overlay(x, m, preprocess={"mean": 0.5}), ValueError, "preprocess"),
        (lambda x, m: overlay(x, m, preprocess=Compose(Normalize(MEAN, STD), Normalize(MEAN, STD))), ValueError, "pre"),
        (lambda x, m: overlay((255 * x).int(), m, preprocess=7), TypeError, "preprocess"),
        (lambda x, m: overlay((255 * x).int(), m, preprocess=lambda image: 7), ValueError, "preprocess"),
    ],
)
def test_errors(call, error, argument):
    with pytest.raises(error, match=f"`{argument}"):
        call(images(), torch.ones(3, 1, 2, 2))
