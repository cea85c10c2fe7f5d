"""``captum-diffcam audit``: from a model and a folder of images to verdicts about maps."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader

from captum_diffcam.audit import audit
from captum_diffcam.cli.images import Images, as_batch, find_images
from captum_diffcam.cli.options import UsageError
from captum_diffcam.cli.prepare import describe, library_errors, notes, prepare
from captum_diffcam.cli.report import check_folder

_EXIT_CODES = {"supported": 0, "contradicted": 1, "undecided": 3, "mixed": 4}


def run(options: argparse.Namespace) -> int:
    """Audit the model on the images, and return the exit code."""
    check_folder(options.out, options.overwrite)
    setting = prepare(options, find_images(options.images, options.out))
    if setting is None:
        return 2
    print(describe(options, setting))
    loader: DataLoader[Any] = DataLoader(
        setting.images, options.batch_size, num_workers=options.workers, collate_fn=as_batch
    )
    names: list[str] = []
    with library_errors(), notes():
        report = audit(
            setting.model,
            _readable(loader, setting.images, names),
            layer=setting.layer,
            class_names=setting.classes,
            alpha=options.alpha,
            seed=options.seed,
            batch_size=options.batch_size,
        )
    report = replace(report, image_names=names)
    print(report)
    try:
        page = report.save(options.out)
    except OSError as error:
        raise UsageError(
            f"`--out` must be a folder that can be written to, got {str(options.out)!r}: {error}"
        ) from error
    print(f"Audited {len(report.images)} images: {page}")
    return _EXIT_CODES[report.verdict]


def _readable(loader: DataLoader[Any], images: Images, names: list[str]) -> Iterator[Tensor]:
    """Return the images in batches, and add their names; those that cannot be read are reported and left out."""
    for batch in loader:
        if batch.problem:
            raise UsageError(batch.problem)
        for index, reason in batch.skipped:
            print(f"{images.files[index].name} cannot be read: {reason}", file=sys.stderr)
        if batch.inputs is not None:
            names += [images.files[sample.index].name for sample in batch.samples]
            yield batch.inputs
