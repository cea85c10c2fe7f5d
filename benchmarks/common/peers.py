"""Other libraries that make such maps, where they are installed."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module

from benchmarks.common.options import warn

PEERS = {"pytorch-grad-cam": "pytorch_grad_cam", "torchcam": "torchcam"}
"""The libraries of the extra ``peers``, by the name of their module."""


def installed_peers() -> list[str]:
    """Those that can be imported: being installed is not enough, their OpenCV needs libraries of a desktop."""
    found = []
    for name, module in PEERS.items():
        with suppress(ImportError):
            import_module(module)
            found.append(name)
    return found


def warn_of_missing_peers() -> None:
    """A line for each that is left out."""
    for peer in PEERS:
        if peer not in installed_peers():
            warn(f"{peer} cannot be imported (extra 'peers') and is left out")
