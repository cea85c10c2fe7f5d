"""Fashion-MNIST from its files, in torchvision's, Debian's and the authors' places."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
import torch

from benchmarks.common.fashion import TWO, fashion_scenes, find_fashion
from benchmarks.common.options import UsageError

LABELS = np.array([7, 9, 0, 7, 3, 9, 9, 1], dtype=np.uint8)


@pytest.fixture(params=[("", True), ("FashionMNIST/raw", False)], ids=str)
def root(request, tmp_path):
    inside, packed = request.param
    folder = tmp_path / inside
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((8, 28, 28), dtype=np.uint8)
    pixels[:, 7:21, 7:21] = 25 * LABELS[:, None, None] + 30
    for part in ("train", "t10k"):
        for name, head, data in (("images-idx3", 16, pixels), ("labels-idx1", 8, LABELS)):
            content = bytes(head) + data.tobytes()
            if packed:
                (folder / f"{part}-{name}-ubyte.gz").write_bytes(gzip.compress(content))
            else:
                (folder / f"{part}-{name}-ubyte").write_bytes(content)
    return tmp_path


def test_images_labels_and_masks_belong_together(root):
    scenes = fashion_scenes(find_fashion(root), train=True, count=6, seed=0)
    assert scenes.images.shape == (6, 3, 56, 56)
    brightness = (25 * scenes.labels[:, 0] + 30) / 255
    torch.testing.assert_close(scenes.images[:, 0, 28, 28], brightness)
    assert scenes.masks.shape == (6, 1, 56, 56)
    assert scenes.masks[:, 0, 16:40, 16:40].all()
    assert not scenes.masks[:, 0, :12].any()


def test_two_of_the_classes_are_numbered_anew(root):
    scenes = fashion_scenes(find_fashion(root), train=False, count=100, seed=0, classes=TWO)
    assert scenes.labels.flatten().sort().values.tolist() == [0, 0, 1, 1, 1]
    torch.testing.assert_close(scenes.images[:, 0, 28, 28], torch.tensor([205, 255])[scenes.labels[:, 0]] / 255)


def test_where_there_is_none(tmp_path):
    with pytest.raises(UsageError, match="--fashion"):
        find_fashion(tmp_path)
