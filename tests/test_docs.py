"""The documentation shows every result, and has a place for every page. That it builds is checked by CI."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
SHOWN = [path.relative_to(RESULTS) for path in sorted(RESULTS.rglob("*.*")) if path.suffix in (".csv", ".png")]


def shown_results() -> str:
    return "".join(page.read_text() for page in (ROOT / "docs" / "results").glob("*.rst"))


@pytest.mark.parametrize("record", sorted(RESULTS.rglob("*.json")), ids=lambda record: record.stem)
def test_a_page_says_how_each_record_was_made(record):
    made_by = f"Made by ``{json.loads(record.read_text())['command']}``"
    assert made_by in shown_results()


def test_numbers_on_pages_are_those_of_the_records():
    pytest.importorskip("cogapp")
    folders = (".", "explanation", "reference", "results")  # those of the galleries are written by the build
    pages = [f"docs/{folder}/{page.name}" for folder in folders for page in (ROOT / "docs" / folder).glob("*.rst")]
    check = [sys.executable, "-m", "cogapp", "-P", "--check", "-I", "docs", "README.md", *pages]
    done = subprocess.run(check, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}: run `cog -P -r -I docs PAGE`"


@pytest.mark.parametrize("file", SHOWN, ids=str)
def test_every_table_and_figure_is_shown(file):
    pages = shown_results()
    place = f"benchmarks/results/{file.as_posix()}"
    # In a table or a figure, or where it is too long for that, as a download.
    assert f"{place}\n" in pages or f"{place}>`" in pages


def test_blocks_end_with_an_empty_line():
    """Otherwise the mark of the end would be read as a part of the paragraph."""
    for page in (ROOT / "docs").rglob("*.rst"):
        lines = page.read_text().splitlines()
        ends = [number for number, line in enumerate(lines) if line == ".. [[[end]]]"]
        assert [number for number in ends if lines[number - 1].strip()] == [], page


def test_every_page_of_the_galleries_has_its_place():
    order = (ROOT / "docs" / "_ext" / "reading_order.py").read_text()
    pages = [path.name for path in (ROOT / "docs" / "galleries").rglob("*.py")]
    assert [page for page in pages if f'"{page}"' not in order] == []


def test_what_the_page_says_of_the_rule_is_what_the_rule_says():
    rule = json.loads((RESULTS / "attacks" / "attacks.json").read_text())["rule"]
    page = (ROOT / "docs" / "results" / "attacks.rst").read_text()
    assert rule["enough"]
    assert not any(candidate["meets"] for candidate in rule["candidates"].values())
    assert f"No candidate meets it, so the default stays ``{rule['default']}``." in page
