"""The page of a report: one HTML file that needs no other, no network and no framework.

It is written as head.html, card.html for each image, and foot.html, which are Jinja templates beside this file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from captum_diffcam.cli.images import Box

_TEMPLATES = Environment(
    loader=PackageLoader("captum_diffcam.cli", ""),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
)
# A name that is no text, as file systems allow, has no address as it is.
_TEMPLATES.filters["address"] = lambda name: quote(name.encode("utf-8", "surrogateescape"))


class View(NamedTuple):
    """A map over its photograph."""

    tile: str
    """The map as a data URI."""
    text: str
    """What the class is explained against."""
    evidence: str = ""
    """How much of the map lies in which region."""
    overlay: str = ""
    """The file of the large picture."""
    calibrated: bool = False
    """Whether this is the map before it, corrected by occlusions."""


class Picture(NamedTuple):
    """What the page shows of an image."""

    file: str
    target: str
    """The class that is explained, with its probability."""
    prediction: str
    """What the model predicts instead, or nothing."""
    size: tuple[int, int]
    region: Box
    photograph: str
    """A data URI."""
    views: Sequence[View]
    rivals: Sequence[View]


def head(about: Mapping[str, Any], counts: Mapping[str, int], skipped: Sequence[Mapping[str, str]]) -> str:
    """Return the page up to the first image."""
    return _TEMPLATES.get_template("head.html").render(about=about, counts=counts, skipped=skipped)


def card(picture: Picture) -> str:
    """Return the part of the page about one image."""
    width, height = picture.size
    left, top, right, bottom = picture.region
    shares = {
        "left": left / width,
        "top": top / height,
        "width": (right - left) / width,
        "height": (bottom - top) / height,
    }
    place = ";".join(f"{side}:{100 * share:.2f}%" for side, share in shares.items())
    words = " ".join([picture.target, picture.prediction, picture.file]).lower()
    return _TEMPLATES.get_template("card.html").render(picture=picture, place=place, words=words)


def foot(about: Mapping[str, Any]) -> str:
    """Return the page from the last image on."""
    return _TEMPLATES.get_template("foot.html").render(about=about)
