"""What is measured in a process of its own, where nothing that ran before has left memory or anything else behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def run_alone(module: str, *arguments: str) -> str:
    """The last line that the module prints in a new process.

    Raises:
        RuntimeError: it failed; with the last line of its error.
    """
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    if done.returncode:
        why = done.stderr.strip().splitlines()[-1:] or [f"it ended with {done.returncode}"]
        raise RuntimeError(f"{module} failed on {' '.join(arguments)}: {why[0]}")
    return done.stdout.splitlines()[-1]
