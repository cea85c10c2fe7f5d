"""Fixtures of the tests of attacks and audits: images with a bright patch, and a classifier of its colour."""

from __future__ import annotations

import pytest
import torch
from nets import Net
from torch import nn
from torch.nn.functional import cross_entropy


@pytest.fixture(scope="session")
def data():
    """Three classes: a bright patch of one colour somewhere on noise."""
    generator = torch.Generator().manual_seed(0)
    images = 0.3 * torch.rand(384, 3, 16, 16, generator=generator)
    labels = torch.randint(3, (384,), generator=generator)
    for image, label in zip(images, labels.tolist(), strict=True):
        row, column = torch.randint(2, 9, (2,), generator=generator).tolist()
        image[label, row : row + 5, column : column + 5] += 0.7
    return images, labels


@pytest.fixture(scope="session")
def model(data):
    """A trained classifier with batch normalisation and dropout."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        features = nn.Sequential(
            *(nn.Conv2d(3, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(12, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
        )
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.1), nn.Linear(16, 3))
        net = Net(features, head)
        optimizer = torch.optim.Adam(net.parameters(), 1e-2)
        for _ in range(8):
            for batch, labels in zip(data[0].split(32), data[1].split(32), strict=True):
                optimizer.zero_grad()
                cross_entropy(net(batch), labels).backward()
                optimizer.step()
        return net.eval()


@pytest.fixture
def batches(data):
    return list(zip(data[0][:256].split(16), data[1][:256].split(16), strict=True))


@pytest.fixture
def spots():
    """A bright patch in the channel of the class, on grey noise."""
    generator = torch.Generator().manual_seed(0)
    x = 0.1 * torch.rand(12, 3, 28, 28, generator=generator)
    for index in range(12):
        row, column = torch.randint(0, 16, (2,), generator=generator).tolist()
        x[index, index % 3, row : row + 12, column : column + 12] += 0.8
    return x
