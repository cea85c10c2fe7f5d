"""Pages, docstrings, error messages and help use the field's own words, not words that readers have to decode."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
INSTEAD = {
    r"\bhonest(ly)?\b": "clean model",
    r"\bforge(d|r|rs|ry)?\b|\bforging\b": "manipulated model, attacker",
    r"\bhis (picture|hoax|model)\b": "hoax map; attackers are 'they'",
    r"\bwitness(es|ed)?\b": "occlusion map",
    r"\bnine windows\b": "occlusion with 9 windows",
    r"\bmoving part\b": "equivariant part",
    r"\bfixed part\b": "static part",
    r"\bsure decisions?\b|\bdecisions lost\b|\bequal damage\b": "confident predictions, accuracy budget",
    r"\bforetells?\b|\bforetelling\b": "predict",
    r"\blong way round\b": "reference implementation",
    r"\bsureness\b": "confidence, p-value",
    r"\b(laid|lay|laying) over\b": "resize, upsample",
    r"\ballowed (is|are)\b": "must be ..., got ...",
}
# CHANGELOG.md names what things were called before.
READ = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.rst")),
    *sorted((ROOT / "docs" / "galleries").rglob("*.py")),
    *sorted((ROOT / "captum_diffcam").rglob("*.py")),
    *sorted((ROOT / "captum_diffcam").rglob("*.html")),
    *sorted((ROOT / "benchmarks").rglob("*.py")),
]


@pytest.mark.parametrize("file", READ, ids=lambda file: str(file.relative_to(ROOT)))
def test_words(file):
    text = file.read_text(encoding="utf-8")
    banned = [
        f"{text.count(chr(10), 0, match.start()) + 1}: {match[0]!r}; write: {instead}"
        for word, instead in INSTEAD.items()
        for match in re.finditer(word, text, flags=re.IGNORECASE)
    ]
    assert banned == [], f"{file}: {banned}"
