"""Other libraries with class activation maps, if they are installed."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module

from benchmarks.common.options import warn

PEERS = {"pytorch-grad-cam": "pytorch_grad_cam", "torchcam": "torchcam"}
"""The libraries of the extra ``peers``, and the names of their modules."""


def installed_peers() -> list[str]:
    """Return the libraries that can be imported. Their OpenCV may need system libraries that are missing."""
    peers = []
    for name, module in PEERS.items():
        with suppress(ImportError):
            import_module(module)
            peers.append(name)
    return peers


def warn_of_missing_peers() -> None:
    """Warn of each library that is left out."""
    for peer in PEERS:
        if peer not in installed_peers():
            warn(f"{peer} cannot be imported (extra 'peers') and is left out")
