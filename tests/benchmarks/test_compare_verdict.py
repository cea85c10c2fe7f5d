"""What the comparison says, in words."""

from __future__ import annotations

from benchmarks.compare.verdict import verdict


def test_a_few_sentences_of_the_published_record(published):
    said = verdict(published("compare"))
    assert 1 <= len(said) <= 4
    assert all(sentence.endswith(".") and "nan" not in sentence for sentence in said)


def test_what_it_is_taken_from():
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
    said = " ".join(verdict(record))
    assert "'a' leaves it much as it is (correlation 0.99), 'b' changes it most (0.20)" in said
    assert "On 2 of 3 photographs a rival has at least a tenth" in said
    assert "1.50 times as long" in said
    del record["methods"][0]
    assert "With 'b' the map correlates with Grad-CAM's at 0.20" in verdict(record)[0]
    del record["methods"][0]
    assert verdict(record)[0] == "The maps do not vary, so they cannot be compared."
