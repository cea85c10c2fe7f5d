"""Sphinx configuration; ``sphinx-build -W -n docs docs/_build`` builds the pages, and needs no network."""

import os
import sys
from pathlib import Path

os.environ["TQDM_DISABLE"] = "1"  # before tqdm is imported, because pages show what their scripts print

from docutils import nodes
from sphinx.ext import intersphinx
from sphinx.util.inspect import TypeAliasForwardRef

import captum_diffcam

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "captum_diffcam"
author = "The captum_diffcam developers"
copyright = f"2026, {author}"  # noqa: A001 - Sphinx's name
release = captum_diffcam.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx-mathjax-offline",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "sphinxcontrib.bibtex",
    "matplotlib.sphinxext.plot_directive",
    "myst_parser",
    "lines_of_code",
    "public_names",
]
source_suffix = {".rst": "restructuredtext"}  # Markdown is only included
exclude_patterns = [
    "_build",
    "galleries",  # the sources of tutorial/ and howto/
]
html_theme = "furo"
pygments_style = "default"
pygments_dark_style = "github-dark"
html_title = "captum_diffcam"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_logo = "_static/logo.svg"
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#b2182b", "color-brand-content": "#2166ac"},
    "dark_css_variables": {"color-brand-primary": "#f4a582", "color-brand-content": "#92c5de"},
}

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_type_aliases = {
    "ChannelDim": "captum_diffcam._input_axes.ChannelDim",
    "Classes": "captum_diffcam.attacks.fooling.Classes",
    "ClassNames": "captum_diffcam.figures.captions.ClassNames",
    "Contrast": "captum_diffcam.Contrast",
    "ContrastFunction": "captum_diffcam.contrast.ContrastFunction",
    "Data": "captum_diffcam.attacks.fooling.Data",
    "Drawable": "captum_diffcam.figures.overlays.Drawable",
    "Images": "captum_diffcam.figures.images.Images",
    "Layer": "captum_diffcam.attribution.Layer",
    "Layout": "captum_diffcam.layouts.Layout",
    "Limits": "captum_diffcam.figures.overlays.Limits",
    "HoaxMaps": "captum_diffcam.attacks.fooling.HoaxMaps",
    "MapLoss": "captum_diffcam.attacks.losses.MapLoss",
    "MapLossFunction": "captum_diffcam.attacks.losses.MapLossFunction",
    "Probabilities": "captum_diffcam.figures.captions.Probabilities",
    "Reduction": "captum_diffcam.score.Reduction",
    "Shape": "captum_diffcam.attacks.hoax.Shape",
    "Statistics": "captum_diffcam.figures.images.Statistics",
    "Target": "captum_diffcam.Target",
}

napoleon_custom_sections = ["Shape"]

intersphinx_mapping = {
    "captum": ("https://captum.ai/api/", "inventories/captum.inv"),
    "matplotlib": ("https://matplotlib.org/stable/", "inventories/matplotlib.inv"),
    "numpy": ("https://numpy.org/doc/stable/", "inventories/numpy.inv"),
    "python": ("https://docs.python.org/3/", "inventories/python.inv"),
    "torch": ("https://docs.pytorch.org/docs/stable/", "inventories/torch.inv"),
}

# Autodoc names these by where they are defined, or as the source has them; the public name is where their page is.
public_homes = {
    "Figure": "matplotlib.figure.Figure",
    "LayerAttribution": "captum.attr.LayerAttribution",
    "Array": "numpy.ndarray",
    "Module": "torch.nn.Module",
    "Tensor": "torch.Tensor",
    "TwoLogits": "torch.nn.Module",
    "captum._utils.typing.ModuleOrModuleList": "torch.nn.Module",
    "captum.attr._utils.attribution.Attribution": "captum.attr.Attribution",
    "captum.attr._utils.attribution.GradientAttribution": "captum.attr.GradientAttribution",
    "captum.attr._utils.attribution.LayerAttribution": "captum.attr.LayerAttribution",
    "torch._C.Generator": "torch.Generator",
    "torch.nn.modules.module.Module": "torch.nn.Module",
}

# Pillow has no inventory here, and the type variable of maps has no page.
nitpick_ignore = [
    ("py:class", "Image"),
    ("py:class", "captum_diffcam.results.MapsT"),
    ("py:obj", "captum_diffcam.results.MapsT"),
]

bibtex_bibfiles = ["refs.bib"]

plot_include_source = False
plot_html_show_formats = False
plot_html_show_source_link = False
plot_formats = [("png", 144)]

copybutton_exclude = ".linenos, .gp, .go"

sphinx_gallery_conf = {
    "examples_dirs": ["galleries/tutorial", "galleries/howto"],
    "gallery_dirs": ["tutorial", "howto"],
    "filename_pattern": r"\.py$",
    "within_subsection_order": "reading_order.ReadingOrder",
    "abort_on_example_error": True,
    "doc_module": ("captum_diffcam",),
    "reference_url": {"captum_diffcam": None},
    "backreferences_dir": "generated",
    "default_thumb_file": str(Path(__file__).parent / "_static" / "thumbnail.png"),  # of pages without a figure
    "image_scrapers": ("shown_figures.scrape",),
    "image_srcset": ["2x"],
    "ignore_repr_types": r"matplotlib\.figure",
    "download_all_examples": False,
    "show_signature": False,
    "min_reported_time": 600,
    "write_computation_times": False,
}


def link_to_public_home(app, env, node, contnode):
    """A link for a reference that Sphinx did not find, where :data:`public_homes` knows another name for it."""
    target = node.get("reftarget")
    name = public_homes.get(target) or autodoc_type_aliases.get(target)
    if name is None:
        return None
    if name.startswith("captum_diffcam."):
        return env.domains.python_domain.resolve_xref(
            env, node["refdoc"], app.builder, "obj", name, node, nodes.literal(text=target)
        )
    node["reftarget"] = name
    return intersphinx.missing_reference(app, env, node, nodes.literal(text=name))


def keep_colons(app, what, name, obj, options, lines):
    """Keep Napoleon from reading the words before a colon in a constant's first line as its type."""
    if what in ("attribute", "data", "property"):
        lines[:0] = ["..", ""]  # an empty comment


def setup(app):
    """Register the handlers above."""
    # Sphinx writes an alias within a union, such as ``Layer | None``, by its repr, which is no name to link to.
    TypeAliasForwardRef.__repr__ = lambda alias: alias.name
    app.connect("missing-reference", link_to_public_home)
    app.connect("autodoc-process-docstring", keep_colons, priority=400)  # before Napoleon's
