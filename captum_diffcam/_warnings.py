"""Warnings that point at the line of the user, however deep in the library they arise."""

from __future__ import annotations

import os
import sys
import warnings

import captum
import torch

_INSIDE = tuple(os.path.dirname(os.path.abspath(file)) + os.sep for file in (__file__, captum.__file__, torch.__file__))


def warn_user(message: str) -> None:
    """Warn of the first line outside of this library, Captum and torch."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and os.path.abspath(frame.f_code.co_filename).startswith(_INSIDE):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)
