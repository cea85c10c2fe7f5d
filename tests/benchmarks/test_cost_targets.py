"""The conclusion of the cost benchmark in words."""

from __future__ import annotations

from benchmarks.cost.targets import verdict


def test_a_few_sentences_of_the_published_record(published):
    sentences = verdict(published("cost"))
    assert 1 <= len(sentences) <= 4
    assert all(sentence.endswith(".") and "nan" not in sentence for sentence in sentences)


def test_missed_targets_are_named(published):
    record = published("cost")
    figures = {row["figure"]: row["value"] for row in record["targets"]}
    explained = figures["classify and explain, late layer, time to a bare forward"]
    assert f"{explained:.2f}" in verdict(record)[0]
    for row in record["targets"]:
        row["reached"] = row["figure"] != "ten rivals, time to one map"
    assert "ten rivals, time to one map" in verdict(record)[-1]
    assert "three layers" not in verdict(record)[-1]
    for row in record["targets"]:
        row["reached"] = True
    assert "ten rivals" not in verdict(record)[-1]
