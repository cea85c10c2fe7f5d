"""Count the lines of code that a job takes with each library, and show the scripts that were counted.

The scripts are those of ``docs/lines_of_code``: a folder for each job, a file for each library. The directive
``lines-of-code`` makes the table of all jobs, ``lines-of-code:: JOB`` shows the scripts of one job.
"""

from __future__ import annotations

import tokenize
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive

SCRIPTS = Path(__file__).parent.parent / "lines_of_code"

LIBRARIES = {
    "captum_diffcam": "captum_diffcam",
    "captum": "Captum",
    "pytorch_grad_cam": "pytorch-grad-cam",
    "torchcam": "torchcam",
}
"""The names of the libraries, by those of their files."""

JOBS = {
    "overlay": "Save a picture of the map over the photograph",
    "a_not_b": "Why A and not B?",
    "unknown_layer": "A map without knowing the layer",
    "vit": "A map of a vision transformer",
    "heatmap": "An array from 0 to 1 in the size of the input",
    "report": "From a checkpoint and a folder of images to a report",
}
"""What each job is, by the name of its folder."""


def scripts(job: str) -> dict[str, Path]:
    """Return the script of each library that has one for the job."""
    found = {library: next((SCRIPTS / job).glob(f"{library}.*"), None) for library in LIBRARIES}
    return {library: path for library, path in found.items() if path}


def count(path: Path) -> int:
    """Return the number of logical lines: a statement that is wrapped counts once, comments and blank lines do not."""
    if path.suffix != ".py":
        return sum(bool(line.strip()) and not line.lstrip().startswith("#") for line in path.read_text().splitlines())
    with path.open("rb") as source:
        return sum(token.type == tokenize.NEWLINE for token in tokenize.tokenize(source.readline))


class LinesOfCode(Directive):
    """The table of all jobs, or the scripts of one."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the table or the code blocks."""
        for path in SCRIPTS.rglob("*.*"):
            self.state.document.settings.record_dependencies.add(str(path))
        return self._blocks(self.arguments[0]) if self.arguments else [self._table()]

    def _blocks(self, job: str) -> list[nodes.Node]:
        blocks: list[nodes.Node] = []
        for library, path in scripts(job).items():
            n_lines = count(path)
            lines = f"{n_lines} line{'s' if n_lines > 1 else ''}"
            blocks.append(nodes.paragraph("", "", nodes.strong("", LIBRARIES[library]), nodes.Text(f", {lines}")))
            code = path.read_text().rstrip()
            blocks.append(nodes.literal_block(code, code, language="python" if path.suffix == ".py" else "bash"))
        return blocks

    def _table(self) -> nodes.table:
        rows: list[list[str]] = [["Job", *LIBRARIES.values()]]
        for job, description in JOBS.items():
            by_library = scripts(job)
            counts = [str(count(by_library[name])) if name in by_library else "-" for name in LIBRARIES]
            rows.append([description, *counts])
        group = nodes.tgroup(cols=len(rows[0]))
        group += [nodes.colspec(colwidth=40 if i == 0 else 15) for i in range(len(rows[0]))]
        group += nodes.thead("", _row(rows[0]))
        group += nodes.tbody("", *map(_row, rows[1:]))
        return nodes.table("", group, classes=["numbers", "wrapping"])


def _row(cells: list[str]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", cell)) for cell in cells))


def setup(app: Any) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("lines-of-code", LinesOfCode)
    return {"parallel_read_safe": True}
