"""The command line: what it lists, and what it refuses."""

from __future__ import annotations

import pytest

from benchmarks.__main__ import main, parse


def test_output_that_is_a_file(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["--output", str(tmp_path / "file")]) == 2
    assert "cannot make the folder" in capsys.readouterr().err


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
