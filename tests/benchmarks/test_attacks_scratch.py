"""Training with a hoax from the first step, beside fine-tuning, as a study of the benchmark of attacks."""

from __future__ import annotations

import csv
import json

import pytest

from benchmarks.__main__ import main
from benchmarks.attacks import scratch
from benchmarks.attacks.scratch import BUDGETS, GRAD_CAM, SCRATCH, TUNED
from benchmarks.common.names import CLOTHES


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scratch")
    where = ["--output", str(folder / "out"), "--models", str(folder / "models")]
    assert main(["attacks", "--studies", "scratch", "--quick", *where]) == 0
    return folder / "out"


def read(folder):
    return json.loads((folder / "scratch.json").read_text())


def test_a_quick_run(finished):
    record = read(finished)
    assert not record["complete"]
    points = {(point["attack"], point["weight"]): point for point in record["points"]}
    assert {attack for attack, _ in points} == {SCRATCH, TUNED}
    clean = points[TUNED, 0]
    assert clean["kept"] == 1
    assert clean["accuracy"] == clean["accuracy_after"]
    assert clean["methods"][GRAD_CAM]["clean"] == pytest.approx(1)
    assert points[TUNED, 1]["methods"][GRAD_CAM]["clean"] < 1
    # A network that is trained anew is another one, even if nobody attacks it.
    assert points[SCRATCH, 0]["methods"][GRAD_CAM]["clean"] < 0.99
    with (finished / "scratch.csv").open() as file:
        assert len(list(csv.reader(file))) == 1 + sum(len(point["methods"]) for point in record["points"])
    assert (finished / "scratch.png").exists()


def test_points_of_another_machine(finished, tmp_path, capsys):
    """They make the same record, which names that machine."""
    measured = read(finished)
    measured["machine"]["device"] = "a GPU"
    file = tmp_path / "measured.json"
    file.write_text(json.dumps(measured))
    out = tmp_path / "out"
    command = ["attacks", "--studies", "scratch", "--measured", str(file), "--output", str(out)]
    assert main([*command, "--quick"]) == 0
    again = read(out)
    assert again == measured
    assert (out / "scratch.csv").read_text() == (finished / "scratch.csv").read_text()
    # A quick run stays one.
    assert main([*command, "--quick", "--publish"]) == 2
    assert "complete" in capsys.readouterr().err


@pytest.mark.parametrize("content", [None, "no JSON", "{}"])
def test_measured_must_be_a_record(content, tmp_path, capsys):
    file = tmp_path / "file.json"
    if content is not None:
        file.write_text(content)
    command = ["attacks", "--studies", "scratch", "--measured", str(file), "--output", str(tmp_path / "out")]
    assert main(command) == 2
    assert "--measured" in capsys.readouterr().err


@pytest.mark.parametrize("studies", [[], ["--studies", "owner"], ["--studies", "owner", "scratch"]])
def test_measured_is_for_this_study_alone(studies, tmp_path, capsys):
    assert main(["attacks", *studies, "--measured", "x.json", "--output", str(tmp_path)]) == 2
    assert "--measured" in capsys.readouterr().err


def test_as_many_processes_as_clean_networks_train_one_each():
    seeds = scratch.SEEDS
    cases = scratch.planned([4, 5, 6], [CLOTHES], quick=False)
    assert len({case.key for case in cases}) == len(cases)
    assert {case.seed for case in cases} == set([4, 5, 6][:seeds])
    count = 2 * seeds
    for process in range(count):
        own = cases[process::count]
        assert len({(case.data, case.architecture, case.seed) for case in own}) == 1
        assert {(case.attack, case.weight) for case in own} == {
            (attack, weight) for attack, weights in scratch.WEIGHTS.items() for weight in weights
        }


def point(seed, attack, weight, lost, hoax):
    methods = {GRAD_CAM: {"hoax": hoax, "clean": 1 - hoax, "occlusion": 0.5}}
    fields = {"data": CLOTHES, "architecture": "resnet", "seed": seed, "attack": attack, "weight": weight}
    return {**fields, "accuracy": 0.9, "accuracy_after": 0.9 - lost, "methods": methods}


def test_rows_are_the_best_attacks_within_a_budget_of_accuracy():
    points = [
        point(0, TUNED, 0.0, 0.0, -0.2),
        point(0, TUNED, 1.0, 0.04, 0.6),
        point(1, TUNED, 0.0, 0.0, 0.0),
        point(1, TUNED, 1.0, 0.01, 0.8),
    ]
    rows = {row["budget"]: row for row in scratch.rows_of(points)}
    assert list(rows) == [0, *BUDGETS]
    assert rows[0]["methods"][GRAD_CAM]["hoax"]["mean"] == pytest.approx(-0.1)
    # Half of the way to the first network's attack costs 2 points, and the second costs 1.
    assert rows[2]["methods"][GRAD_CAM]["hoax"]["mean"] == pytest.approx((0.2 + 0.8) / 2)
    assert rows[2]["cost"]["mean"] == pytest.approx((2 + 1) / 2)
    assert rows[5]["methods"][GRAD_CAM]["hoax"]["mean"] == pytest.approx(0.7)
    assert rows[5]["seeds"] == 2


def test_a_network_without_an_attack_in_the_budget_is_not_counted():
    """A network trained from scratch may be worse than the clean one by more than a budget, even without an attack."""
    points = [point(0, SCRATCH, 0.0, 0.03, 0.0), point(0, SCRATCH, 1.0, 0.04, 0.5)]
    assert [row["budget"] for row in scratch.rows_of(points)] == [0, 5]


def test_a_network_that_became_better_is_within_every_budget():
    points = [point(0, TUNED, 0.0, 0.0, 0.0), point(0, TUNED, 1.0, -0.08, 0.5)]
    rows = {row["budget"]: row for row in scratch.rows_of(points)}
    assert rows[1]["methods"][GRAD_CAM]["hoax"]["mean"] == pytest.approx(0.5)
    assert rows[1]["cost"]["mean"] == pytest.approx(-8)
