"""One file a question, one command line: ``python -m benchmarks --help``."""
