"""Fixtures of these tests."""

from patches import batches, data, model, spots

__all__ = ["batches", "data", "model", "spots"]
