"""Show the figures of a block in a gallery script: of pyplot, and a last value that is a figure."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any
from weakref import WeakSet

from matplotlib.figure import Figure
from sphinx_gallery.scrapers import figure_rst, matplotlib_scraper

_LAST = "___"
"""The name under which sphinx-gallery keeps the value of a block's last line."""
_NARROW, _BROAD = 5, 9.5
"""The width in inches up to which a figure fits a phone, and that from which it is too wide for the column of text."""
_shown: WeakSet[Figure] = WeakSet()


def scrape(block: tuple[Any, ...], block_vars: dict[str, Any], gallery_conf: dict[str, Any], **options: Any) -> str:
    """Return the figures in a container that scrolls on narrow screens, as a scraper of sphinx-gallery."""
    style = "gallery-figure"
    pages: str = matplotlib_scraper(block, block_vars, gallery_conf, **options)
    figure = block_vars["example_globals"].get(_LAST)
    if isinstance(figure, Figure) and figure not in _shown:
        _shown.add(figure)
        width = figure.get_figwidth()
        style += " narrow" if width <= _NARROW else " broad" if width >= _BROAD else ""
        path = Path(next(block_vars["image_path_iterator"]))
        sharp = path.with_stem(f"{path.stem}_2_00x")
        for file, dpi in ((path, 100), (sharp, 200)):
            figure.savefig(file, dpi=dpi, bbox_inches="tight")
        pages += figure_rst([path], gallery_conf["src_dir"], _words(figure), srcsetpaths=[{0: path, 2.0: sharp}])
    return f"\n.. container:: {style}\n{textwrap.indent(pages, '   ')}\n" if pages else ""


def _words(figure: Figure) -> str:
    """Return the titles in a figure, which say what it shows to readers who do not see it."""
    titles = [*(text.get_text() for text in figure.texts), *(axes.get_title() for axes in figure.axes)]
    return ", ".join(dict.fromkeys(" ".join(title.split()) for title in titles if title.strip()))
