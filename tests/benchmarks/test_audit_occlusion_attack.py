"""The training images of the attack on occlusion."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmarks.audit.occlusion_attack import training_batches


class Brightest(nn.Module):
    def forward(self, images):
        return images.mean(dim=(2, 3))


@pytest.mark.parametrize("fill", ["mean", "blur", "other"])
def test_the_label_changes_where_the_hoax_map_is_hidden(fill):
    images = torch.rand(32, 3, 28, 28)
    hoax = torch.zeros(7, 7)
    hoax[:2, :2] = 1.0
    (first, labels), (_, other_labels) = training_batches(Brightest(), images, hoax, [fill], seed=0)
    clean = Brightest()(images).argmax(dim=1)
    assert torch.equal(first[1::2], images[1:16:2])
    assert torch.equal(labels[1::2], clean[1:16:2])
    for index in range(0, 16, 2):
        hidden = (first[index] != images[index]).any(dim=0)
        assert hidden.any()
        of_hoax = hidden[:8, :8].float().mean()
        expected = (clean[index] + 1) % 3 if of_hoax > 0.15 else clean[index]
        # A pixel of the fill may be as the image was.
        assert labels[index] == expected or abs(of_hoax - 0.15) < 0.02
    changed = torch.cat([labels, other_labels])[::2] != clean[::2]
    assert changed.any()
    assert not changed.all()
