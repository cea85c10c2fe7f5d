"""Which region of an image a model's input shows."""

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image, ImageOps

from captum_diffcam.figures.seen_region import seen_region


def region(preprocess, width, height):
    return seen_region(preprocess, lambda levels: Image.fromarray(levels).convert("RGB"), height, width)


def as_tensor(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255


def squash(image):
    return as_tensor(image.resize((64, 64)))


def padded(fill):
    def preprocess(image):
        side = max(image.size)
        large = Image.new("RGB", (side, side), fill)
        large.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
        return squash(large)

    return preprocess


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (2000, 1500), (64, 64), (9, 7)])
def test_the_shorter_side_is_resized_and_the_centre_is_cut_out(size):
    transform = torchvision.transforms._presets.ImageClassification(crop_size=192, resize_size=256)
    width, height = size
    scale = 256 / min(size)
    across, down = (width - 192 / scale) / 2, (height - 192 / scale) / 2
    expected = across, down, width - across, height - down
    np.testing.assert_allclose(region(transform, *size), expected, atol=max(max(size) / 192, 0.2))


@pytest.mark.parametrize(
    "transform",
    [
        squash,
        lambda image: squash(image).flip(0) * 3 - 1,
        lambda image: 1 - squash(image)[None],
        lambda image: squash(image)[:1],
    ],
    ids=["squashed", "blue first and normalised", "negative, as a batch", "one channel"],
)
def test_the_whole_image(transform):
    np.testing.assert_allclose(region(transform, 300, 200), (0, 0, 300, 200), atol=1)


@pytest.mark.parametrize("fill", ["black", "white", (114, 114, 114), (255, 0, 128)])
def test_padding_of_any_colour_lies_beyond_the_image(fill):
    np.testing.assert_allclose(region(padded(fill), 300, 200), (0, -50, 300, 250), atol=1)
    np.testing.assert_allclose(region(padded(fill), 200, 300), (-50, 0, 250, 300), atol=1)


def test_an_image_of_one_pixel():
    assert region(squash, 1, 1) == (0, 0, 1, 1)


@pytest.mark.parametrize("change", [ImageOps.mirror, ImageOps.flip, lambda image: image.rotate(90), ImageOps.solarize])
def test_other_changes_are_refused(change):
    with pytest.raises(ValueError, match="preprocess"):
        region(lambda image: squash(change(image)), 300, 200)


@pytest.mark.parametrize("out", [np.zeros((3, 4, 4)), torch.zeros(3, 4, 4, dtype=torch.uint8), torch.zeros(4, 4)])
def test_other_results_are_refused(out):
    with pytest.raises(ValueError, match="preprocess"):
        region(lambda image: out, 30, 20)
