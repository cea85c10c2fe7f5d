"""The README's code runs as pasted, and CI runs the commands that the README gives."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_example_runs_as_pasted_and_draws_the_picture_below(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (example,) = blocks("python")
    names: dict[str, Any] = {}
    exec(example, names)
    assert names["classes"].tolist() == [282]
    assert names["maps"].shape == (1, 1, 7, 7)
    picture = re.search(r"```\n\n!\[[^\]]+\]\((\S+)\)", README)[1]
    with Image.open("rivals.jpg") as drawn, Image.open(ROOT / picture) as shown:
        assert drawn.size == shown.size
        # Fonts differ between versions of Matplotlib, by little.
        assert np.abs(np.asarray(drawn, dtype=float) - np.asarray(shown)).mean() < 3


def test_ci_runs_every_command():
    ci = (ROOT / ".ci" / "run").read_text()
    commands = [command.strip() for command in blocks("bash")]
    assert len(commands) == 3
    for command in commands:
        assert command in ci


LINKS = re.findall(r"\]\(((?!http)[^)#]+)\)", README)
# A number is [text][key], and at the foot stands [key]: file "where in the record".
RECORDED = {
    key: (file, path) for key, file, path in re.findall(r'^\[([\w-]+)\]: (\S+) "(.*)"$', README, flags=re.MULTILINE)
}
NUMBERS = re.findall(r"\[([^\]]+)\]\[([\w-]+)\]", README)


@pytest.mark.parametrize("link", sorted({*LINKS, *(file for file, _ in RECORDED.values())}))
def test_links_lead_somewhere(link):
    assert (ROOT / link).exists()


@pytest.mark.parametrize(("text", "key"), NUMBERS)
def test_numbers_are_those_of_the_records(text, key):
    spec = importlib.util.spec_from_file_location("record_paths", ROOT / "docs" / "_ext" / "record_paths.py")
    record_paths = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(record_paths)
    number = record_paths.number(RECORDED[key][1])
    assert text == number, "python docs/_ext/record_paths.py brings the README up to date"


def test_no_number_of_what_was_measured_is_typed_by_hand():
    (section,) = re.findall(r"## What was measured\n(.*?)\n## ", README, flags=re.DOTALL)
    assert re.findall(r"\d+\.\d+|\d+ ?%", re.sub(r"\[[^\]]+\]\[[\w-]+\]", "", section)) == []
    assert {key for _, key in NUMBERS} == set(RECORDED)
