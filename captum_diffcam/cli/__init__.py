"""The command line: ``captum-diffcam explain`` and ``captum-diffcam audit``, for a model and a folder of images."""

from captum_diffcam.cli.main import main

__all__ = ["main"]
