"""The command line: ``captum-diffcam explain`` explains a folder of images with a classifier."""

from captum_diffcam.cli.main import main

__all__ = ["main"]
