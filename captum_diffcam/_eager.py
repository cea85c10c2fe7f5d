"""Compiled models, run as they were written."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

_lock = threading.Lock()
_running: list[Any] = []
"""The stance of torch.compile that was entered first, once for each run inside."""


@contextmanager
def uncompiled() -> Iterator[None]:
    """Run in Python inside what :func:`torch.compile` has compiled, without compiling anything.

    To autograd a compiled graph is one function. The layer's tensor and the logits are both outputs of it, and neither
    has a gradient with respect to the other.
    """
    # Nothing is compiled before Dynamo is imported, which takes seconds.
    if "torch._dynamo" not in sys.modules:
        yield
        return
    # It holds for all threads: the first one in enters it, the last one out leaves it.
    with _lock:
        _running.append(_running[0] if _running else torch.compiler.set_stance("force_eager"))
    try:
        yield
    finally:
        with _lock:
            stance = _running.pop()
            if not _running:
                stance.__exit__(None, None, None)
