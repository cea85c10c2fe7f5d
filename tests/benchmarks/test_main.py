"""The command line: what it lists, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

from benchmarks.__main__ import main, parse


def test_help_lists_the_benchmarks(capsys):
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    assert left.value.code == 0
    assert "compare" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["compare", "--help"])
    assert "--contrast" in capsys.readouterr().out


def test_no_name_is_the_main_job(tmp_path):
    args = parse(["--model", "resnet50", "--output", str(tmp_path)])
    assert (args.benchmark, args.model) == ("compare", "resnet50")


def test_no_pytorch_before_it_is_needed():
    """Help and a misspelt option answer at once."""
    code = """
import sys
from benchmarks.__main__ import main
assert main(["compare", "--nonsense"]) == 2
try:
    main(["faithfulness", "--help"])
except SystemExit as end:
    assert end.code == 0
print([name for name in ("torch", "numpy", "matplotlib", "tqdm") if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines() == ["error: unrecognized arguments: --nonsense", "[]"]


@pytest.mark.parametrize(("rank", "said"), [("0", "interrupted\n"), ("1", "")])
def test_an_interruption_while_importing(monkeypatch, tmp_path, capsys, rank, said):
    """Of several processes one speaks."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("TQDM_DISABLE", "")

    def interrupted(name):
        if name.endswith(".run"):
            raise KeyboardInterrupt
        return import_module(name)

    monkeypatch.setattr("benchmarks.__main__.import_module", interrupted)
    assert main(["zoo", "--models", "resnet18", "--output", str(tmp_path)]) == 130
    assert capsys.readouterr().err == said
