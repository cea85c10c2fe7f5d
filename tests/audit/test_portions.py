"""How much at a time, where, and in which precision."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from captum_diffcam.audit.portions import portions


def test_portions_of_the_size_asked():
    sizes = []

    def function(images, beside):
        sizes.append(len(images))
        return images.sum(dim=1) + beside

    with portions(nn.Linear(2, 2), None, 3) as run:
        images, beside = torch.rand(8, 2), torch.arange(8)
        assert torch.equal(run.run(function, images, beside), images.sum(dim=1) + beside)
        assert sizes == [3, 3, 2]
        assert run.forwards == 8


def test_what_does_not_fit_into_memory_is_halved():
    sizes = []

    def function(images, beside):
        if len(images) > 5:
            raise torch.cuda.OutOfMemoryError("too large")
        sizes.append(len(images))
        return images

    with portions(nn.Linear(2, 2), None, None) as run:
        images = torch.rand(9, 2)
        assert torch.equal(run.run(function, images, torch.zeros(9)), images)
        assert sizes == [4, 4, 1]
    with portions(nn.Linear(2, 2), None, 8) as run, pytest.raises(torch.cuda.OutOfMemoryError):
        run.run(function, images, torch.zeros(9))


def test_inputs_get_the_precision_of_the_model():
    with portions(nn.Linear(2, 2).bfloat16(), None, None) as run:
        assert run.run(lambda x, _: x, torch.rand(2, 2), torch.zeros(2)).dtype == torch.bfloat16
        assert run.run(lambda x, _: x, torch.zeros(2, 2, dtype=torch.long), torch.zeros(2)).dtype == torch.long


def test_the_model_comes_home():
    """To a device without values, which every machine has."""
    model = nn.Linear(2, 2)
    with pytest.raises(NotImplementedError), portions(model, "meta", None):
        assert model.weight.device.type == "meta"
