"""Warn of public names that are missing in the reference or have no example. Under -W the build fails."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Iterator

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

import captum_diffcam

FORMULAS = ("captum_diffcam.metrics", "captum_diffcam.weighting")
"""Modules without ``__all__``, whose functions are all public."""


def public_names() -> Iterator[tuple[str, object]]:
    """Yield what ``__all__`` of each module lists, and the functions of :data:`FORMULAS`."""
    modules = (module.name for module in pkgutil.walk_packages(captum_diffcam.__path__, "captum_diffcam."))
    modules = (name for name in modules if not name.startswith(("captum_diffcam.cli", "captum_diffcam.__main__")))
    for name in ("captum_diffcam", *modules):
        module = importlib.import_module(name)
        names = [key for key in getattr(module, "__all__", []) if not inspect.ismodule(getattr(module, key))]
        if name in FORMULAS:
            functions = inspect.getmembers(module, inspect.isfunction)
            names = [key for key, f in functions if f.__module__ == name and not key.startswith("_")]
        yield from ((f"{name}.{key}", getattr(module, key)) for key in names)


def is_called(value: object) -> bool:
    """Return whether users call it: a function or a class, but no type of an argument or of what is returned."""
    return inspect.isfunction(value) or (
        inspect.isclass(value) and not issubclass(value, tuple) and not dataclasses.is_dataclass(value)
    )


def check(app: Sphinx, env: BuildEnvironment) -> None:
    """Warn of every incomplete name."""
    logger = logging.getLogger(__name__)
    documented = env.domains.python_domain.objects
    for name, value in public_names():
        if name not in documented:
            logger.warning("%s is public and not in the reference", name)
        elif is_called(value) and ">>>" not in (inspect.getdoc(value) or ""):
            logger.warning("the docstring of %s shows no example", name)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("env-check-consistency", check)
    return {"parallel_read_safe": True}
