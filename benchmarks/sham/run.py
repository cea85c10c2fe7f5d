"""Attacks on every model, in several processes."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from inspect import signature
from multiprocessing import get_context
from typing import Any

import torch
from tqdm import tqdm

from benchmarks.common.options import UsageError
from benchmarks.common.reporting import conclude, environment, write_json
from benchmarks.sham.attacked_models import Setting, fashion, glyphs, own, photographs
from benchmarks.sham.detection import audited, separating_threshold
from benchmarks.sham.experiment import HONEST, Outcome, attack_in_every_way
from benchmarks.sham.figure import draw_attacks
from benchmarks.sham.measures import means
from benchmarks.sham.methods import measured_methods
from benchmarks.sham.tables import print_tables, write_tables
from benchmarks.sham.targets import reached
from captum_diffcam.sham import audit

_DISABLE = "TQDM_DISABLE"
THRESHOLD = signature(audit).parameters["threshold"].default


def run(args: argparse.Namespace) -> None:
    settings = chosen_settings(args)
    seeds = range(args.seed, args.seed + (1 if args.quick else args.seeds))
    jobs = [(index, seed) for index in range(len(settings)) for seed in seeds]
    outcomes: dict[int, list[Outcome]] = {index: [] for index in range(len(settings))}
    for (index, _), outcome in zip(jobs, _outcomes(args, jobs), strict=True):
        outcomes[index].append(outcome)
    records = [_summary(setting, outcomes[index]) for index, setting in enumerate(settings)]
    targets = reached(records)
    record = {"benchmark": "sham", "complete": not args.quick, **environment(args), "seeds": list(seeds)}
    write_json(args.output / "sham.json", {**record, "threshold": THRESHOLD, "targets": targets, "settings": records})
    write_tables(args.output, records)
    for index, setting in enumerate(settings):
        draw_attacks(args.output / f"maps-{index + 1}.png", setting.name, outcomes[index][0])
    print_tables(records, targets)
    figures = [f"maps-{index + 1}.png" for index in range(len(settings))]
    conclude(args, [], ["sham.json", "decisions.csv", "maps.csv", "audit.csv", *figures])


def chosen_settings(args: argparse.Namespace) -> list[Setting]:
    """The settings that the options ask for."""
    if args.model:
        if args.data is None:
            raise UsageError("--model: needs --data, a folder with a folder of images for each class")
        return [own(args.model, args.weights, args.layer, args.data)]
    if args.weights or args.layer:
        raise UsageError("--weights, --layer: are those of --model, which is missing")
    if args.data and not (args.data / "FashionMNIST" / "raw").is_dir():
        raise UsageError(f"--data: there is no FashionMNIST/raw in {str(args.data)!r}; other images need --model")
    few = fashion(args.data) if args.data else glyphs(10)
    # The longest first, so that no process is left with one at the end.
    return [few] if args.quick else [photographs(), glyphs(100), few]


def _outcomes(args: argparse.Namespace, jobs: Sequence[tuple[int, int]]) -> Iterator[Outcome]:
    """In the order of the jobs, whichever process they ran in."""
    work = partial(_work, args)
    if args.workers == 1:
        yield from map(work, jobs)
        return
    with _silent(), ProcessPoolExecutor(args.workers, get_context("spawn")) as pool:
        yield from tqdm(pool.map(work, jobs), total=len(jobs), unit="model", leave=False)


@contextmanager
def _silent() -> Iterator[None]:
    """Processes that start here show no progress: their bars would write over each other."""
    before = os.environ.get(_DISABLE)
    os.environ[_DISABLE] = "1"
    try:
        yield
    finally:
        os.environ.pop(_DISABLE) if before is None else os.environ.update({_DISABLE: before})


def _work(args: argparse.Namespace, job: tuple[int, int]) -> Outcome:
    torch.set_num_threads(args.threads)
    index, seed = job
    return attack_in_every_way(chosen_settings(args)[index], seed, args.quick, args.device)


def _summary(setting: Setting, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    attacks = {
        name: {
            "decisions": means([outcome.attacks[name]["decisions"] for outcome in outcomes]),
            "methods": {
                method: means([outcome.attacks[name]["methods"][method] for outcome in outcomes])
                for method in measured_methods({})
            },
        }
        for name in outcomes[0].attacks
    }
    honest, attacked = separating_threshold(outcomes)
    return {
        "setting": setting.name,
        "classes": setting.classes,
        "images": len(outcomes[0].attacks[HONEST]["scores"]),
        "attacks": attacks,
        "audit": audited(outcomes, THRESHOLD),
        "audit_scores": {"highest_of_honest_models": honest, "lowest_of_attacked_models": attacked},
    }
