"""What most tests explain: a small classifier and three images."""

from __future__ import annotations

import os
import sys

import pytest
import torch
from nets import Net, conv_net, images
from torch import Tensor

collect_ignore = ["typing"]  # for type checkers alone

# Tests need no network, and Hugging Face tries five times to reach one.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# There is a process of tests for each core.
torch.set_num_threads(1)


@pytest.fixture
def net() -> Net:
    return conv_net()


@pytest.fixture
def x() -> Tensor:
    return images()


@pytest.fixture
def user_folder(tmp_path, monkeypatch):
    """The current folder of a user, whose module ``usermodels`` can be imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "usermodels", raising=False)
    return tmp_path
