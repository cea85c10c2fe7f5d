"""Where results go: below the current directory, and to the published records from complete runs only."""

from __future__ import annotations

import json

import pytest
import torch

from benchmarks.__main__ import main, parse
from benchmarks.attacks import run as attacks_run
from benchmarks.audit import run as audit_run
from benchmarks.common import result_folders
from benchmarks.common.options import UsageError
from benchmarks.common.result_folders import settle_output, without_output


@pytest.fixture
def records(tmp_path, monkeypatch):
    """Published records of our own, and a directory to stand in."""
    monkeypatch.setattr(result_folders, "PUBLISHED", tmp_path / "published")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "published"


@pytest.fixture
def _one_model(monkeypatch):
    """A zoo of one, whatever is installed."""
    monkeypatch.setattr("torchvision.models.list_models", lambda module: ["squeezenet1_1"])
    monkeypatch.setattr("benchmarks.zoo.timm_models.FAMILIES", ())
    monkeypatch.setattr("benchmarks.zoo.run.huggingface_models", list)


def test_results_go_below_the_current_directory(records, tmp_path):
    args = parse(["cost"])
    assert args.output.resolve() == tmp_path / "here" / "captum-diffcam-results" / "cost"
    assert args.output.is_dir()
    assert not args.publish


@pytest.mark.usefixtures("_one_model")
def test_a_complete_run_is_published(records, capsys):
    folder = records / "zoo"
    folder.mkdir(parents=True)
    (folder / "other.json").write_text("kept")
    # To name the published records is to publish.
    for options in (["--publish"], ["--output", str(folder)]):
        assert main(["zoo", *options]) == 0
        assert f"Published in {folder}" in capsys.readouterr().out
        assert json.loads((folder / "zoo.json").read_text())["complete"]
        assert {path.name for path in folder.iterdir()} >= {"other.json", "zoo.csv", "zoo.json"}
        (folder / "zoo.json").unlink()
    assert (folder / "other.json").read_text() == "kept"


@pytest.mark.parametrize("option", ["--publish", "--output"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("cost", ["--quick"]),
        ("faithfulness", ["--quick", "--model", "resnet18"]),
        ("attacks", ["--quick"]),
        ("compare", ["--contrast", "top:3"]),
        ("zoo", ["--models", "resnet18"]),
    ],
)
def test_an_incomplete_run_is_not_published(records, capsys, option, name, options):
    where = ["--publish"] if option == "--publish" else ["--output", str(records / name)]
    assert main([name, *options, *where]) == 2
    line = capsys.readouterr().err
    assert line.startswith("error: --publish")
    assert all(word in line for word in options if word.startswith("--"))
    assert not records.exists()


@pytest.mark.parametrize(
    ("name", "missing"), [("attacks", "cut-outs, 1000 classes"), ("audit", "vision transformer; plain; resnet")]
)
def test_a_run_without_all_data_is_not_even_begun_for_publication(records, monkeypatch, capsys, name, missing):
    for module in ("common.clean_models", "audit.audited_models"):
        for find in ("find_material", "find_fashion"):
            monkeypatch.setattr(f"benchmarks.{module}.{find}", lambda *folders: None)
    assert main([name, "--publish"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: --publish")
    assert missing in line
    assert not records.exists()


@pytest.mark.usefixtures("_one_model")
def test_a_run_that_fails_is_not_published(records, monkeypatch):
    monkeypatch.setattr("benchmarks.zoo.check.TOLERANCE", -1)
    assert main(["zoo", "--publish"]) == 2
    assert not records.exists()


@pytest.mark.parametrize(("name", "report"), [("attacks", attacks_run.report), ("audit", audit_run.report)])
def test_a_run_that_had_no_time_for_something_is_not_published(records, name, report):
    args = parse([name, "--minutes", "1", "--publish"])
    args.device = torch.device("cpu")
    with pytest.raises(UsageError, match="--publish"):
        report(args, [0], [], ["what is left"])
    assert not json.loads((args.output / f"{name}.json").read_text())["complete"]
    assert not records.exists()
    report(args, [0], [], [])
    assert json.loads((records / name / f"{name}.json").read_text())["complete"]


@pytest.mark.parametrize("place", ["", "cost/more", "compare"])
def test_no_other_place_among_the_records(records, place):
    args = parse(["cost"])
    args.output = records / place
    with pytest.raises(UsageError, match=r"--output.*--publish"):
        settle_output(args)


def test_output_that_is_a_file(records, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["--output", str(tmp_path / "file")]) == 2
    assert "--output" in capsys.readouterr().err


def test_the_command_without_where_it_goes(records):
    argv = ["cost", "--output", "a", "--seed", "3", "--output=b", "--publish", "--resume", "--overwrite"]
    assert without_output(argv) == ["cost", "--seed", "3"]
    assert parse(["cost", "--output", "a", "--rounds", "2"]).command == "python -m benchmarks cost --rounds 2"
    assert without_output(["audit", "--models", "kept", "--models=kept"]) == ["audit"]
    # An abbreviation would stay in.
    with pytest.raises(UsageError, match="unrecognized arguments: --out"):
        parse(["cost", "--out", "a"])
