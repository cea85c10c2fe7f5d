"""What the cost benchmark says, in words."""

from __future__ import annotations

from benchmarks.cost.verdict import verdict


def test_a_few_sentences_of_the_published_record(published):
    said = verdict(published("cost"))
    assert 1 <= len(said) <= 4
    assert all(sentence.endswith(".") and "nan" not in sentence for sentence in said)


def test_what_was_not_reached_is_said(published):
    record = published("cost")
    figures = {row["figure"]: row["value"] for row in record["targets"]}
    said = " ".join(verdict(record))
    explained = figures["classify and explain, late layer, time to a bare forward"]
    assert f"To classify and explain takes {explained:.2f} times as long as to classify" in said
    for row in record["targets"]:
        row["reached"] = row["figure"] != "ten rivals, time to one map"
    assert verdict(record)[-1] == "Not reached: ten rivals, time to one map."
    for row in record["targets"]:
        row["reached"] = True
    assert verdict(record)[-1] == "All targets are reached."
