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
    assert f"{figures['ten rivals, to one map']:.2f} times one" in said
    assert said.endswith("All targets are reached.")
    record["targets"][4]["reached"] = False
    assert verdict(record)[-1] == "Not reached: ten rivals, to one map."
