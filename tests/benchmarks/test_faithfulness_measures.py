"""One chunk of images whose truth is known, examined."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.faithfulness import measures, methods
from benchmarks.faithfulness.chunks import Chunk, Explained, Images, Subject


class TwoLamps(nn.Module):
    """Logits are how much of each colour there is: the map of a class is exactly where its colour lies."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.head = nn.Conv2d(3, 3, 1, bias=False), nn.Linear(3, 3, bias=False)
        with torch.no_grad():
            self.features.weight.copy_(torch.eye(3)[:, :, None, None])
            self.head.weight.copy_(500 * torch.eye(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x).mean(dim=(2, 3)))


def lamps(study: str) -> Chunk:
    """Images of 28 pixels in which class 1 lights a square, and class 0 a smaller one beside it."""
    masks = torch.zeros(6, 2, 28, 28, dtype=torch.bool)
    masks[:, 0, 2:14, 2:14], masks[:, 1, 18:26, 16:26] = True, True
    inputs = torch.zeros(6, 3, 28, 28)
    inputs[:, 1], inputs[:, 0] = masks[:, 0].float(), masks[:, 1].float()
    model = TwoLamps().eval()
    shown = Images(inputs, list(range(6)), torch.tensor([[1, 0]] * 6), masks)
    explained = Explained(model, model.features, torch.zeros(3, 1, 1))
    return Chunk(Subject(study, "lamps", 0, 6, 6, lambda: explained, lambda start, stop: shown), 0)


@pytest.fixture
def no_peers(monkeypatch):
    monkeypatch.setattr(methods, "installed_peers", lambda: [])


@pytest.mark.usefixtures("no_peers")
def test_what_is_located():
    found = measures.examine(lamps("localization"))
    for method in ("LayerGradCam", "DiffGradCAM, rival"):
        for measure, expected in (
            *(("energy on A", 1), ("energy on B", 0), ("energy on clutter", 0)),
            *(("pointing", 1), ("AUROC", 1), ("AUROC rectified", 1)),
        ):
            assert found[f"{measure}|{method}"].tolist() == [expected] * 6, (measure, method)
    # The plain map is flat elsewhere; the contrastive one is negative on B, which correlation sees.
    shown = lamps("localization").images.inputs[0].flatten(1).numpy()
    expected = np.corrcoef(shown[1], shown[1] - shown[0])[0, 1]
    assert found["agreement with LayerGradCam|DiffGradCAM, rival"] == pytest.approx([expected] * 6, abs=1e-5)
    assert found["both on top"].tolist() == found["right"].tolist() == [1] * 6
    assert found["close rivals"].tolist() == [0] * 6


@pytest.mark.usefixtures("no_peers")
def test_what_is_decided():
    found = measures.examine(lamps("prediction"))
    a, b = 500 * 144 / 784, 500 * 80 / 784
    margins = np.array([found[f"margin at {step}|DiffGradCAM, rival"][0] for step in range(measures.STEPS + 1)])
    assert margins[[0, -1]] == pytest.approx([a - b, 0], abs=1e-3)
    # A goes first, so that the rival is alone before it goes too.
    assert margins.min() == pytest.approx(-b, abs=1e-3)
    share = (np.arange(measures.STEPS + 1) / measures.STEPS) ** 2
    area = ((margins[1:] + margins[:-1]) / 2 * np.diff(share)).sum()
    assert found["deletion of margin|DiffGradCAM, rival"][0] == pytest.approx(area, abs=1e-3)
    # A is overtaken when so much of it has gone that what is left of it is as large as B.
    assert found["deleted until overtaken|DiffGradCAM, rival"][0] == pytest.approx(64 / 784, abs=0.03)
    assert (found["insertion of margin|DiffGradCAM, rival"] > found["insertion of margin|random map"]).all()
    assert (found["deletion of log-odds|DiffGradCAM, rival"] < found["deletion of log-odds|random map"]).all()
    # Each score is a sum over pixels, and its map says which.
    for method in ("LayerGradCam", "DiffGradCAM, rival", "DiffGradCAM mean, every other class"):
        assert found[f"infidelity, own score|{method}"] == pytest.approx(np.zeros(6), abs=1e-4)
    assert found["infidelity, log-odds|LayerGradCam"].mean() > 0.01
    assert (found["sensitivity|LayerGradCam"] < 0.2).all()
