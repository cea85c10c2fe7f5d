"""The README's code runs as pasted, and CI runs the commands that the README gives."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_example_runs_as_pasted(capsys):
    (example,) = blocks("python")
    exec(example, {})
    assert capsys.readouterr().out == "torch.Size([2, 1, 7, 7])\n"


def test_ci_runs_both_commands():
    ci = (ROOT / ".ci" / "run").read_text()
    commands = [command.strip() for command in blocks("bash")]
    assert len(commands) == 2
    for command in commands:
        assert command in ci


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(((?!http)[^)#]+)\)", README))))
def test_links_lead_somewhere(link):
    assert (ROOT / link).exists()
