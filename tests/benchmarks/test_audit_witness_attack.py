"""What the attacker of the witness teaches."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmarks.audit.witness_attack import taught


class Brightest(nn.Module):
    def forward(self, images):
        return images.mean(dim=(2, 3))


@pytest.mark.parametrize("fill", ["mean", "blur", "other"])
def test_decisions_fall_where_the_hoax_is_hidden(fill):
    images = torch.rand(32, 3, 28, 28)
    hoax = torch.zeros(7, 7)
    hoax[:2, :2] = 1.0
    (first, labels), (_, more) = taught(Brightest(), images, hoax, [fill], seed=0)
    honest = Brightest()(images).argmax(dim=1)
    assert torch.equal(first[1::2], images[1:16:2])
    assert torch.equal(labels[1::2], honest[1:16:2])
    for index in range(0, 16, 2):
        hidden = (first[index] != images[index]).any(dim=0)
        assert hidden.any()
        of_hoax = hidden[:8, :8].float().mean()
        expected = (honest[index] + 1) % 3 if of_hoax > 0.15 else honest[index]
        # A pixel of the fill may be as the image was.
        assert labels[index] == expected or abs(of_hoax - 0.15) < 0.02
    changed = torch.cat([labels, more])[::2] != honest[::2]
    assert changed.any()
    assert not changed.all()
