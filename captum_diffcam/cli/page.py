"""The page of a report: one HTML file that needs no other, no network and no framework."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any, NamedTuple
from urllib.parse import quote

from captum_diffcam.cli.images import Box

_CALIBRATED = (
    "A calibrated map is the map beside it, corrected by occlusions: windows of the image were hidden, and the falls "
    "of the score were measured. Below it stand the size of these falls and how far the map was from them (root mean "
    "squares, in nats)."
)


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
    n = counts["explained"]
    facts = [
        f"{n} {'image' if n == 1 else 'images'}",
        f"model <b>{escape(about['model'])}</b>",
        f"layer <b>{escape(about['layer'])}</b>",
    ]
    notes = ""
    if about["calibrated"]:
        notes += f"<p class=soft>{_CALIBRATED}</p>"
    if counts["unfinished"]:
        notes += f"<p class=warning>The run was interrupted: {counts['unfinished']} images are missing.</p>"
    if skipped:
        listed = "".join(f"<li><b>{escape(item['file'])}</b>: {escape(item['reason'])}</li>" for item in skipped)
        notes += f"<details class=warning><summary>{len(skipped)} files could not be read</summary>"
        notes += f"<ul>{listed}</ul></details>"
    return (
        _template("head.html")
        .replace("{title}", escape(f"What {about['model']} looks at"))
        .replace("{facts}", " · ".join(facts))
        .replace("{notes}", notes)
    )


def card(picture: Picture) -> str:
    """Return the part of the page about one image."""
    width, height = picture.size
    left, top, right, bottom = picture.region
    place = ";".join(
        f"{side}:{100 * part:.2f}%"
        for side, part in (
            ("left", left / width),
            ("top", top / height),
            ("width", (right - left) / width),
            ("height", (bottom - top) / height),
        )
    )
    words = " ".join([picture.target, picture.prediction, picture.file]).lower()
    other = f"<p class=other>The model predicts {escape(picture.prediction)}.</p>" if picture.prediction else ""
    views = "".join(
        _figure(
            view,
            place,
            ("Calibrated: " if view.calibrated else "")
            + f"<b class=for>{escape(picture.target)}</b> against <b class=against>{escape(view.text)}</b>",
        )
        for view in picture.views
    )
    rivals = "".join(_figure(view, place, f"<b class=against>{escape(view.text)}</b>") for view in picture.rivals)
    return (
        f'<article data-words="{escape(words)}" style="--photo:url({picture.photograph});--ratio:{width}/{height}">'
        f"<h2>{escape(picture.target)}</h2><p class=file>{escape(picture.file)}</p>{other}"
        f'<div class="views{" pairs" if any(view.calibrated for view in picture.views) else ""}"><figure>'
        "<div class=view role=img aria-label=photograph><i class=photo></i></div>"
        f"<figcaption>The image</figcaption></figure>{views}</div>"
        f"<h3>Against each of the strongest rivals</h3><div class=rivals>{rivals}</div></article>\n"
    )


def _figure(view: View, place: str, caption: str) -> str:
    picture = f'<i class="photo grey"></i><img src="{view.tile}" alt="" style="{place}">'
    kind = "calibrated map" if view.calibrated else "map"
    shown = f'<div class=view role=img aria-label="{kind} against {escape(view.text)}">{picture}</div>'
    if view.overlay:
        # A name that is no text, as file systems allow, has no address.
        address = quote(view.overlay.encode("utf-8", "surrogateescape"))
        shown = f'<a href="{address}" title="the large picture, in the folder of this page">{shown}</a>'
    evidence = f"<br>{escape(view.evidence)}" if view.evidence else ""
    return f"<figure>{shown}<figcaption>{caption}{evidence}</figcaption></figure>"


def foot(about: Mapping[str, Any]) -> str:
    """Return the page from the last image on."""
    return _template("foot.html").replace("{version}", escape(about["versions"]["captum_diffcam"]))


def _template(name: str) -> str:
    return files("captum_diffcam.cli").joinpath(name).read_text(encoding="utf-8")
