"""Shows what a script of the galleries evaluates last, where that is a figure made without pyplot."""

from __future__ import annotations

from typing import Any
from weakref import WeakSet

from matplotlib.figure import Figure
from sphinx_gallery.scrapers import figure_rst, matplotlib_scraper

_LAST = "___"
"""Under this name sphinx-gallery keeps the value of a block's last line, until another one has a value."""
_shown: WeakSet[Figure] = WeakSet()


def scrape(block: tuple[Any, ...], block_vars: dict[str, Any], gallery_conf: dict[str, Any], **options: Any) -> str:
    """A scraper of sphinx-gallery: pyplot's figures, and a figure by itself."""
    pages: str = matplotlib_scraper(block, block_vars, gallery_conf, **options)
    figure = block_vars["example_globals"].get(_LAST)
    if not isinstance(figure, Figure) or figure in _shown:
        return pages
    _shown.add(figure)
    path = next(block_vars["image_path_iterator"])
    figure.savefig(path, dpi=150, bbox_inches="tight")
    shown: str = figure_rst([path], gallery_conf["src_dir"])
    return pages + shown
