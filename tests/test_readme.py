"""The README's code runs as pasted, and CI runs the commands that the README gives."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision.models import resnet18

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_example_runs_as_pasted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (example,) = blocks("python")
    torch.manual_seed(0)
    names: dict[str, Any] = {"model": resnet18().eval(), "images": torch.rand(2, 3, 64, 64)}
    exec(example, names)
    assert names["classes"].tolist() == names["logits"].argmax(dim=1).tolist()
    assert names["maps"].shape == (2, 1, 2, 2)
    assert (tmp_path / "maps.png").stat().st_size > 0


def test_ci_runs_every_command():
    ci = (ROOT / ".ci" / "run").read_text()
    commands = [command.strip() for command in blocks("bash")]
    assert len(commands) == 3
    for command in commands:
        assert command in ci


LINKS = re.findall(r"\]\(((?!http)[^)#]+)\)", README)


@pytest.mark.parametrize("link", sorted(set(LINKS)))
def test_links_lead_somewhere(link):
    assert (ROOT / link).exists()


def test_it_is_short():
    assert len(README.splitlines()) <= 130
