"""Write what was found: files for each image as soon as it is explained, then a page and a manifest of all of them.

Each process appends a line for each of its images to a file of its own. At the end the lines of all processes are put
in order and become ``index.html`` and ``manifest.json``. So memory does not grow with the number of images, and what
was finished is kept, whatever interrupts a run.
"""

from __future__ import annotations

import heapq
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from captum_diffcam.cli.drawing import draw_overlay, thumbnail, tile
from captum_diffcam.cli.images import ImageFile, Sample, read_image
from captum_diffcam.cli.options import UsageError
from captum_diffcam.cli.page import Picture, View, card, foot, head
from captum_diffcam.cli.questions import Answers, Question
from captum_diffcam.cli.regions import Region, evidence_of
from captum_diffcam.figures.captions import percent

_PARTS = ".parts"
PAGE, MANIFEST = "index.html", "manifest.json"


def check_folder(folder: Path, overwrite: bool, may_exist: Set[str] = frozenset()) -> None:
    """Refuse a folder that holds something, unless it may be written into.

    Args:
        folder: What ``--out`` names.
        overwrite: Whether it may contain something already.
        may_exist: Names within it that do not count.

    Raises:
        UsageError: It is a file, or it holds something.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"`--out` must be a folder, got the file {str(folder)!r}.")
    if folder.is_dir() and not overwrite and {path.name for path in folder.iterdir()} - may_exist:
        raise UsageError(f"`--out` must be an empty folder, got {str(folder)!r}; pass --overwrite to write into it.")


class Report:
    """The folder of a report, as one of several processes writes it.

    Args:
        folder: Where to write.
        overwrite: Whether it may contain something already.
        process: The number of this process.
        processes: How many there are.
    """

    def __init__(self, folder: Path, overwrite: bool, process: int, processes: int) -> None:
        self.folder = folder
        self.process = process
        self.processes = processes
        # Other processes of this run may have begun to write.
        begun = {_PARTS, "overlays", "maps"} if processes > 1 else set[str]()
        check_folder(folder, overwrite, begun)

    def begin(self) -> None:
        """Create the folder and forget what an earlier run left unfinished.

        Raises:
            UsageError: The folder cannot be written to.
        """
        try:
            (self.folder / _PARTS).mkdir(parents=True, exist_ok=True)
            self._done(self.process).unlink(missing_ok=True)
            self._part(self.process).write_bytes(b"")
        except OSError as error:
            raise UsageError(
                f"`--out` must be a folder that can be written to, got {str(self.folder)!r}: {error}"
            ) from error

    def _part(self, process: int) -> Path:
        return self.folder / _PARTS / f"{process}.jsonl"

    def _done(self, process: int) -> Path:
        return self.folder / _PARTS / f"{process}.done"

    def append(self, record: dict[str, Any]) -> None:
        """Store the record of an image, which has its ``index``, as one line."""
        with self._part(self.process).open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(record) + "\n")

    def finish(self, about: dict[str, Any], complete: bool) -> dict[str, int] | None:
        """Write the page and the manifest if this process is the last to finish.

        Args:
            about: What the manifest says about the whole run.
            complete: Whether this process explained all of its images. If not, its first process writes the page
                without waiting for the others.

        Returns:
            How many images were ``explained``, ``skipped`` and ``unfinished``, or None if another process is to write.
        """
        self._done(self.process).write_text("complete" if complete else "interrupted")
        finished = [self._done(process).is_file() for process in range(self.processes)]
        if not all(finished) and (complete or self.process):
            return None
        try:
            counts = self._join(about)
        except FileNotFoundError:
            # Another process finished in the same moment and has put everything together.
            return None
        if all(finished):
            shutil.rmtree(self.folder / _PARTS, ignore_errors=True)
        return counts

    def _records(self) -> Iterator[dict[str, Any]]:
        """Return the records of all processes in the order of the images."""
        with ExitStack() as stack:
            parts = [self._part(process) for process in range(self.processes)]
            files = [stack.enter_context(part.open(encoding="utf-8")) for part in parts if part.exists()]
            yield from heapq.merge(*map(_complete_records, files), key=lambda record: record["index"])

    def _join(self, about: dict[str, Any]) -> dict[str, int]:
        explained = sum("image" in record for record in self._records())
        skipped = [record["skipped"] for record in self._records() if "skipped" in record]
        unfinished = about["n_images"] - explained - len(skipped)
        counts = {"explained": explained, "skipped": len(skipped), "unfinished": unfinished}
        earlier = _written_before(self.folder)
        written: set[str] = set()
        new_page, new_manifest = (self.folder / _PARTS / f"{self.process}.{name}" for name in (PAGE, MANIFEST))
        with (
            new_page.open("w", encoding="utf-8", errors="replace") as page,
            new_manifest.open("w", encoding="utf-8") as manifest,
        ):
            manifest.write(json.dumps({**about, **counts}, indent=1)[:-2] + ',\n "images": [')
            page.write(head(about, counts, skipped))
            separator = "\n  "
            for record in self._records():
                if "image" in record:
                    manifest.write(separator + json.dumps(record["image"]))
                    page.write(record["card"])
                    written |= {record["image"]["maps"], *record["image"]["overlays"]}
                    separator = ",\n  "
            manifest.write('\n ],\n "skipped_images": ' + json.dumps(skipped) + "\n}\n")
            page.write(foot(about))
        os.replace(new_manifest, self.folder / MANIFEST)
        os.replace(new_page, self.folder / PAGE)
        for name in earlier - written:
            with suppress(OSError):
                (self.folder / name).unlink(missing_ok=True)
        return counts


def _complete_records(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """Return the records of a file whose last line may not be finished."""
    for line in lines:
        if line.endswith("\n"):
            yield json.loads(line)


def _written_before(folder: Path) -> set[str]:
    """Return the files that an earlier report of the folder names, so that those of images that are gone can go too."""
    try:
        images = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["images"]
        names = {name for image in images for name in (image["maps"], *image["overlays"])}
    except (OSError, ValueError, KeyError, TypeError):
        return set()
    # Never outside of the folder, whatever the file says.
    inside = folder.resolve()
    return {name for name in names if inside in (inside / name).resolve().parents}


class ImageWriter:
    """Write the files of an image.

    Args:
        folder: Where to write.
        files: All images of the run.
        classes: The names of the classes.
        questions: What was asked.
        side: The longer side of the photographs on the page, in pixels.
        regions: Regions by image, whose evidence is written.
    """

    def __init__(
        self,
        folder: Path,
        files: Sequence[ImageFile],
        classes: Sequence[str],
        questions: Sequence[Question],
        side: int,
        regions: Mapping[str, Sequence[Region]],
    ) -> None:
        self.folder = folder
        self.files = files
        self.classes = classes
        self.questions = questions
        self.side = side
        self.regions = regions

    def __call__(self, sample: Sample, answers: Answers) -> dict[str, Any]:
        """Write overlays and maps of one image, and return its record.

        Args:
            sample: The image.
            answers: Those about it, without the axis of examples.
        """
        file = self.files[sample.index]
        image = read_image(file.path)
        target, predicted = int(answers.target), int(answers.probabilities.argmax())
        regions = self.regions.get(file.name, [])
        evidence, rival_evidence, calibrated_evidence = (
            evidence_of(maps, regions, sample.size, sample.region)
            for maps in (answers.maps, answers.rival_maps, answers.calibrated_maps)
        )
        overlays, contrasts, calibrated, views = [], [], [], []
        for i, question in enumerate(self.questions):
            text, score = question.text_for(target), answers.scores[i]
            overlay = f"overlays/{file.output}{f'.{i + 1}' if i else ''}.png"
            caption = f"{self._named(answers, target)} against {text}"
            self._save_overlay(overlay, image, answers.maps[i], sample, caption)
            overlays.append(overlay)
            contrasts.append({"against": text, "score": _number(score), **_by_region(regions, evidence[i])})
            views.append(View(tile(answers.maps[i]), text, _in_words(regions, evidence[i], score), overlay))
            if len(answers.calibrated_maps):
                residual, fall = (_root_mean_square(values[i]) for values in (answers.residuals, answers.falls))
                in_regions = _by_region(regions, calibrated_evidence[i])
                overlay = f"{overlay.removesuffix('.png')}.calibrated.png"
                self._save_overlay(overlay, image, answers.calibrated_maps[i], sample, f"calibrated: {caption}")
                of_occlusions = {"residual": _number(residual), "fall": _number(fall)}
                calibrated.append({"against": text, **of_occlusions, **in_regions, "overlay": overlay})
                words = f"falls of {float(fall):.2g} nats, error of the map {float(residual):.2g}"
                if regions:
                    words = f"{_in_words(regions, calibrated_evidence[i], score)}. {words}"
                views.append(View(tile(answers.calibrated_maps[i]), text, words, overlay, calibrated=True))
        rivals, rival_views = [], []
        for i, rival in enumerate(answers.rivals.tolist()):
            score, in_regions = answers.rival_scores[i], _by_region(regions, rival_evidence[i])
            rivals.append({**self._described(answers, rival), "score": _number(score), **in_regions})
            words = _in_words(regions, rival_evidence[i], score)
            rival_views.append(View(tile(answers.rival_maps[i]), self._named(answers, rival), words))
        maps = f"maps/{file.output}.npz"
        # Without --calibrate, what belongs to calibrated maps is empty.
        arrays = {name: values.numpy() for name, values in answers._asdict().items() if values.numel()}
        np.savez(self._path(maps), region=np.array(sample.region), **arrays)
        record = {
            "file": file.name,
            "size": list(sample.size),
            "region": [round(edge, 2) for edge in sample.region],
            "target": self._described(answers, target),
            "prediction": self._described(answers, predicted),
            "contrasts": contrasts,
            "calibrated": calibrated,
            "rivals": rivals,
            "overlays": [*overlays, *(entry["overlay"] for entry in calibrated)],
            "maps": maps,
        }
        on_page = Picture(
            file.name,
            self._named(answers, target),
            "" if predicted == target else self._named(answers, predicted),
            sample.size,
            sample.region,
            thumbnail(image, self.side),
            views,
            rival_views,
        )
        return {"index": sample.index, "image": record, "card": card(on_page)}

    def _save_overlay(self, name: str, image: Image.Image, map_: Tensor, sample: Sample, caption: str) -> None:
        picture = draw_overlay(image, map_, sample.region, caption)
        # The strongest compression takes ten times as long for a few percent.
        picture.save(self._path(name), compress_level=1)

    def _path(self, name: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _named(self, answers: Answers, index: int) -> str:
        return f"{self.classes[index]} {percent(float(answers.probabilities[index]))}"

    def _described(self, answers: Answers, index: int) -> dict[str, Any]:
        probability = round(float(answers.probabilities[index]), 6)
        return {"class": index, "name": self.classes[index], "probability": probability}


def _by_region(regions: Sequence[Region], evidence: Tensor) -> dict[str, Any]:
    """Return the evidence in each region (R,) as an entry of the manifest, if there are regions."""
    by_name = {region.name: _number(value) for region, value in zip(regions, evidence, strict=True)}
    return {"evidence": by_name} if regions else {}


def _in_words(regions: Sequence[Region], evidence: Tensor, score: Tensor) -> str:
    """Return the evidence in each region (R,) beside the score, if there are regions."""
    parts = [f"{region.name} {float(value):+.2g}" for region, value in zip(regions, evidence, strict=True)]
    return f"{', '.join(parts)} of {float(score):.2g}" if parts else ""


def _root_mean_square(values: Tensor) -> Tensor:
    return values.square().mean().sqrt()


def _number(value: Tensor) -> float | None:
    """Return a score as JSON has it, which knows no infinity."""
    return round(float(value), 6) if value.isfinite() else None
