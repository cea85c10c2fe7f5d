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
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
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
        target, rivals = int(answers.target), answers.rivals.tolist()
        predicted = int(answers.probabilities.argmax())
        texts = [question.text_for(target) for question in self.questions]
        regions = self.regions.get(file.name, [])
        evidence, of_rivals, of_calibrated = (
            evidence_of(maps, regions, sample.size, sample.region)
            for maps in (answers.maps, answers.rival_maps, answers.calibrated_maps)
        )
        overlays = []
        for number, (single_map, text) in enumerate(zip(answers.maps, texts, strict=True)):
            name = f"overlays/{file.output}{f'.{number + 1}' if number else ''}.png"
            caption = f"{self._named(answers, target)} against {text}"
            picture = draw_overlay(image, single_map, sample.region, caption)
            self._path(name)
            # The strongest compression takes ten times as long for a few percent.
            picture.save(self.folder / name, compress_level=1)
            overlays.append(name)
        maps = f"maps/{file.output}.npz"
        np.savez(
            self._path(maps),
            maps=answers.maps.numpy(),
            scores=answers.scores.numpy(),
            target=target,
            rivals=answers.rivals.numpy(),
            rival_maps=answers.rival_maps.numpy(),
            rival_scores=answers.rival_scores.numpy(),
            probabilities=answers.probabilities.numpy(),
            region=np.array(sample.region),
            **_calibration_arrays(answers),
        )
        record = {
            "file": file.name,
            "size": list(sample.size),
            "region": [round(edge, 2) for edge in sample.region],
            "target": self._described(answers, target),
            "prediction": self._described(answers, predicted),
            "contrasts": [
                {"against": text, "score": _number(score), **_by_region(regions, values)}
                for text, score, values in zip(texts, answers.scores, evidence, strict=True)
            ],
            "calibrated": [
                {
                    "against": text,
                    "residual": _number(_size(residual)),
                    "fall": _number(_size(fall)),
                    **_by_region(regions, values),
                }
                # Without --calibrate there are none.
                for text, residual, fall, values in zip(
                    texts, answers.residuals, answers.falls, of_calibrated, strict=False
                )
            ],
            "rivals": [
                {**self._described(answers, rival), "score": _number(score), **_by_region(regions, values)}
                for rival, score, values in zip(rivals, answers.rival_scores, of_rivals, strict=True)
            ],
            "overlays": overlays,
            "maps": maps,
        }
        views = [
            View(tile(m), text, _in_words(regions, values, score), name)
            for m, text, values, score, name in zip(
                answers.maps, texts, evidence, answers.scores, overlays, strict=True
            )
        ]
        calibrated_views = [
            View(tile(m), text, _calibration_in_words(fall, residual, regions, values, score), calibrated=True)
            for m, text, fall, residual, values, score in zip(
                answers.calibrated_maps,
                texts,
                answers.falls,
                answers.residuals,
                of_calibrated,
                answers.scores,
                strict=False,
            )
        ]
        picture_on_page = Picture(
            file.name,
            self._named(answers, target),
            "" if predicted == target else self._named(answers, predicted),
            sample.size,
            sample.region,
            thumbnail(image, self.side),
            # Each calibrated map follows the map that it corrects.
            [view for pair in zip_longest(views, calibrated_views) for view in pair if view],
            [
                View(tile(m), self._named(answers, rival), _in_words(regions, values, score))
                for m, rival, values, score in zip(
                    answers.rival_maps, rivals, of_rivals, answers.rival_scores, strict=True
                )
            ],
        )
        return {"index": sample.index, "image": record, "card": card(picture_on_page)}

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


def _calibration_arrays(answers: Answers) -> dict[str, Any]:
    """Return what is stored of the calibrated maps, if there are any."""
    if not len(answers.calibrated_maps):
        return {}
    return {
        "calibrated_maps": answers.calibrated_maps.numpy(),
        "falls": answers.falls.numpy(),
        "residuals": answers.residuals.numpy(),
    }


def _calibration_in_words(
    falls: Tensor, residuals: Tensor, regions: Sequence[Region], evidence: Tensor, score: Tensor
) -> str:
    """Return how far a map was from the measured falls (K,), and the evidence in each region of the calibrated map."""
    words = f"falls {float(_size(falls)):.2g}, the map was off by {float(_size(residuals)):.2g} nats"
    evidence_in_words = _in_words(regions, evidence, score)
    return f"{evidence_in_words}. {words}" if evidence_in_words else words


def _size(values: Tensor) -> Tensor:
    """Return the root mean square."""
    return values.square().mean().sqrt()


def _number(value: Tensor) -> float | None:
    """Return a score as JSON has it, which knows no infinity."""
    return round(float(value), 6) if value.isfinite() else None
