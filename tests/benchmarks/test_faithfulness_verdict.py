"""The conclusion of the faithfulness benchmark in words."""

from __future__ import annotations

import copy

from benchmarks.faithfulness.verdict import verdict


def test_a_few_sentences_of_the_published_record(published):
    sentences = verdict(published("faithfulness"))
    assert 1 <= len(sentences) <= 4
    assert all(sentence.endswith(".") and "nan" not in sentence for sentence in sentences)


def test_unfavourable_results_are_named(published):
    record = published("faithfulness")
    assert "on 5 of 5 kinds of images" in verdict(record)[0]
    other = copy.deepcopy(record)
    rows = [row for row in other["estimates"] if (row["study"], row["images"]) == ("prediction", "all")]
    first, second = (
        row["minus"]["LayerGradCam"]
        for row in [r for r in rows if (r["measure"], r["method"]) == ("deletion of margin", "DiffGradCAM, rival")][:2]
    )
    first.update(value=0.2, lower=0.1, upper=0.3)
    second.update(lower=-2, upper=1)
    assert "on 3 of 5 kinds of images, worse on 1, unclear on 1" in verdict(other)[0]
    for row in other["agreement"]:
        row["median"]["value"] = 0.5
    assert any("differs" in sentence and "0.50" in sentence for sentence in verdict(other))
    assert "AUROC rectified and energy on A against" in verdict(record)[-1]
    for row in record["targets"]:
        row["reached"] = True
    assert not any("targets.csv" in sentence for sentence in verdict(record))
