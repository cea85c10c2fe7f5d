"""What the faithfulness benchmark says, in words."""

from __future__ import annotations

import copy

from benchmarks.faithfulness.verdict import verdict


def test_a_few_sentences_of_the_published_record(published):
    said = verdict(published("faithfulness"))
    assert 1 <= len(said) <= 4
    assert all(sentence.endswith(".") and "nan" not in sentence for sentence in said)


def test_what_goes_against_us_is_said(published):
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
    assert "is not Grad-CAM's either (median correlation 0.50 or more)" in " ".join(verdict(other))
    assert verdict(record)[-1].startswith("Not always better than hoped for: AUROC rectified and energy on A")
    for row in record["targets"]:
        row["reached"] = True
    assert "hoped" not in " ".join(verdict(record))
