"""Fixtures of these tests."""

from patches import batches, data, model

__all__ = ["batches", "data", "model"]
