"""Where to run."""

from __future__ import annotations

import warnings

import torch

from benchmarks.common.options import UsageError


def available_device(text: str) -> torch.device:
    """The device of that name.

    Raises:
        UsageError: there is none here.
    """
    try:
        with warnings.catch_warnings():
            # A missing driver is also warned of; the error below says it in one line.
            warnings.simplefilter("ignore")
            device = torch.device(text)
            torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"--device: {text!r} is not available here; cpu always is") from error
    return device
