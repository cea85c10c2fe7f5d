"""The conclusion of the comparison in words."""

from __future__ import annotations

import re

from benchmarks.compare.verdict import verdict


def test_a_few_sentences_of_the_published_record(published):
    sentences = verdict(published("compare"))
    assert 1 <= len(sentences) <= 4
    assert all(sentence.endswith(".") and "nan" not in sentence for sentence in sentences)


def test_the_conclusion_has_the_numbers():
    def method(name, pearson, ratio=1.5):
        return {
            "name": name,
            "contrast": "x",
            "compared_with": "LayerGradCam",
            "median": {"pearson": pearson, "time_ratio": ratio},
        }

    def photograph(*probabilities):
        target, *rivals = ({"probability": p} for p in probabilities)
        return {"target": target, "rivals": rivals}

    record = {
        "methods": [method("DiffGradCAM a", 0.99), method("DiffGradCAM b", 0.2), method("DiffGradCAM c", float("nan"))],
        "photographs": [photograph(0.9, 0.05, 0.04), photograph(0.5, 0.05, 0.04), photograph(0.3, 0.3)],
    }
    agreement, close, time = verdict(record)
    assert re.search(r"'a'.*0\.99.*'b'.*0\.20", agreement)
    assert "2 of 3" in close
    assert "1.50" in time
    del record["methods"][0]
    assert re.search(r"'b'.*0\.20", verdict(record)[0])
    del record["methods"][0]
    assert "constant" in verdict(record)[0]
