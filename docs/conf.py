"""Sphinx configuration; build with ``sphinx-build -W -n docs docs/_build``."""

import importlib.metadata

project = "captum_diffcam"
author = "The captum_diffcam developers"
copyright = f"2026, {author}"  # noqa: A001 - Sphinx's name
release = importlib.metadata.version("captum-diffcam")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "captum_diffcam"

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_type_aliases = {
    "Contrast": "captum_diffcam.contrast.Contrast",
    "ContrastFunction": "captum_diffcam.contrast.ContrastFunction",
    "Layout": "captum_diffcam.layouts.Layout",
    "Reduction": "captum_diffcam.score.Reduction",
    "Target": "captum_diffcam.logits.Target",
}

# The inventories of other projects are on the internet, and the documentation builds without it.
nitpick_ignore_regex = [("py:.*", r"(captum|torch|numpy|collections)\..*|\w*Attribution|Tensor|Module|Callable|Any")]
