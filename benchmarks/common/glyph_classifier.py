"""A small convolutional classifier of glyphs, trained in a minute or two on one core."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset
from tqdm import tqdm

from benchmarks.common.glyphs import Scenes, draw_scenes

LAYER = "features"
"""The layer to explain: 7 x 7 positions, rectified, followed by pooling and a linear map."""

_BATCH, _EPOCHS = 64, 4
_Model = TypeVar("_Model", bound=nn.Module)


class GlyphClassifier(nn.Module):
    """Four stages of convolutions, global average pooling and a linear map. Shapes: (N, 3, 56, 56) -> (N, C)."""

    def __init__(self, classes: int) -> None:
        super().__init__()

        def stage(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
            # Without in-place operations: maps are differentiated through.
            convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
            return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())

        self.features = nn.Sequential(
            stage(3, 32, kernel=5, stride=2), stage(32, 64, stride=2), stage(64, 128), nn.MaxPool2d(2), stage(128, 128)
        )
        self.pooling = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(128, classes)
        # Half as fast again on a CPU.
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.head(
            self.pooling(self.features(images.contiguous(memory_format=torch.channels_last))).flatten(1)
        )
        return logits


def train_classifier(classes: int, seed: int, images: int | None = None, *, quiet: bool = False) -> GlyphClassifier:
    """Train on freshly drawn images, by default as many as so many classes need; a seed gives the same classifier."""
    scenes = draw_scenes(classes, images or 7000 + 70 * classes, seed)
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        model = GlyphClassifier(classes)
    return fit(model, scenes.images, scenes.labels[:, 0], seed, quiet=quiet, classes=classes)


def fit(model: _Model, images: Tensor, labels: Tensor, seed: int, *, quiet: bool = False, classes: int) -> _Model:
    """Train a model in place. Shapes: images (N, 3, 56, 56), labels (N,). The classes are named in the progress bar."""
    order = torch.Generator().manual_seed(seed)
    data = TensorDataset(images, labels)
    loader = DataLoader(data, batch_size=_BATCH, shuffle=True, drop_last=True, generator=order)
    steps = _EPOCHS * len(loader)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    # Left out where it is not asked for, so that the environment may ask for it too.
    silence = {"disable": True} if quiet else {}
    with tqdm(total=steps, desc=f"train, {classes} classes", leave=False, **silence) as bar:
        for _ in range(_EPOCHS):
            for batch, truth in loader:
                loss = cross_entropy(model(batch), truth)
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
                schedule.step()
                bar.update()
                bar.set_postfix(loss=f"{loss.item():.3f}")
    return model.eval()


def accuracy(model: nn.Module, scenes: Scenes) -> float:
    """Share of images whose only object is recognised."""
    with torch.no_grad():
        logits = torch.cat([model(batch) for batch in torch.split(scenes.images, 256)])
    return (logits.argmax(dim=1) == scenes.labels[:, 0]).float().mean().item()
