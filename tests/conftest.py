"""What most tests explain: a small classifier and three images."""

from __future__ import annotations

import pytest
from nets import Net, conv_net, images
from torch import Tensor


@pytest.fixture
def net() -> Net:
    return conv_net()


@pytest.fixture
def x() -> Tensor:
    return images()
