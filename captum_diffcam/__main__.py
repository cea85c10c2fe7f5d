"""Run the command line: ``python -m captum_diffcam``."""

from __future__ import annotations

import sys

from captum_diffcam.cli import main

if __name__ == "__main__":
    sys.exit(main())
