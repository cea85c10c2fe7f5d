"""A folder for each question, and one command line: ``python -m benchmarks --help``."""
