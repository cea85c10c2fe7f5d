"""Show a figure without pyplot if it is the last value of a block in a gallery script."""

from __future__ import annotations

from typing import Any
from weakref import WeakSet

from matplotlib.figure import Figure
from sphinx_gallery.scrapers import figure_rst, matplotlib_scraper

_LAST = "___"
"""The name under which sphinx-gallery keeps the value of a block's last line."""
_shown: WeakSet[Figure] = WeakSet()


def scrape(block: tuple[Any, ...], block_vars: dict[str, Any], gallery_conf: dict[str, Any], **options: Any) -> str:
    """Return the figures of pyplot and a figure without pyplot, as a scraper of sphinx-gallery."""
    pages: str = matplotlib_scraper(block, block_vars, gallery_conf, **options)
    figure = block_vars["example_globals"].get(_LAST)
    if not isinstance(figure, Figure) or figure in _shown:
        return pages
    _shown.add(figure)
    path = next(block_vars["image_path_iterator"])
    figure.savefig(path, dpi=150, bbox_inches="tight")
    shown: str = figure_rst([path], gallery_conf["src_dir"])
    return pages + shown
