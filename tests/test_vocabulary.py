"""Pages, docstrings, error messages and help use the field's own words and short sentences."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
INSTEAD = {
    r"\bhonest(ly)?\b": "clean model",
    r"\bforge(d|r|rs|ry)?\b|\bforging\b": "manipulated model, attacker",
    r"\b(he|him|his)\b": "attackers are 'they'",
    r"\bwhoever\b": "anyone who, or the condition first: 'if ...'",
    r"\blights? up\b|\bparts from\b": "highlight, differ from",
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
    *sorted((ROOT / "docs").glob("*.rst")),
    *sorted(
        page for folder in ("explanation", "reference", "results") for page in (ROOT / "docs" / folder).glob("*.rst")
    ),
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


WORDS = 35
"""The most words that a sentence may have. Numbers do not count."""


def prose(path: Path) -> list[str]:
    """Return the paragraphs and list items of a page, or of the docstrings of a file of Python, without code."""
    text = path.read_text(encoding="utf-8")
    parts = [re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)]
    if path.suffix == ".py":
        strings = [node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Expr)]
        parts = [node.value for node in strings if isinstance(node, ast.Constant) and isinstance(node.value, str)]
        if "galleries" in path.parts:
            parts.append("\n".join(line[2:] for line in text.splitlines() if line.startswith("#")))
    lines: list[str] = []
    literal = None  # the indentation of a directive or of a line that announces a literal block
    for line in "\n\n".join(map(inspect.cleandoc, parts)).splitlines():
        indent = len(line) - len(line.lstrip())
        if literal is not None and line.strip() and indent <= literal:
            literal = None
        announces = line.lstrip().startswith((".. ", "::", "<!--")) or line.endswith("::")
        if literal is None and announces:
            literal = indent
        elif literal is None and not line.lstrip().startswith((">>>", "...", "|")):
            # An item of a list, an argument in a docstring and a row of a table begin a paragraph.
            starts = re.match(r"\s*([-*:#]+ |\w[\w, ]*: |\* - )", line)
            lines.append(f"\n{line}" if starts else line)
    return re.split(r"\n\s*\n", "\n".join(lines))


@pytest.mark.parametrize(
    "file", [file for file in READ if file.suffix != ".html"], ids=lambda file: str(file.relative_to(ROOT))
)
def test_sentences_are_short(file):
    sentences = [
        sentence
        for paragraph in prose(file)
        for sentence in re.split(r"(?<=[.!?;])[\"')*]*\s+", re.sub(r"`[^`]*`", "code", " ".join(paragraph.split())))
    ]
    assert [sentence for sentence in sentences if len(re.findall(r"\S*[^\W\d_]\S*", sentence)) > WORDS] == []
