"""What the zoo says, in a table and in words."""

from __future__ import annotations

from benchmarks.zoo.tables import furthest_table
from benchmarks.zoo.verdict import verdict


def test_a_few_sentences_of_the_published_record(published):
    sentences = verdict(published("zoo"))
    assert 1 <= len(sentences) <= 4
    assert all(sentence.endswith(".") and "nan" not in sentence for sentence in sentences)


def test_what_is_wrong_is_said(published):
    record = published("zoo")
    assert "efficientnet_v2_l" in furthest_table(record["models"]).splitlines()[2]
    record["models"][3]["agrees"] = False
    assert verdict(record) == [
        f"On 1 of {len(record['models'])} classifiers a map is not the one that its formula gives: "
        f"{record['models'][3]['model']}."
    ]
