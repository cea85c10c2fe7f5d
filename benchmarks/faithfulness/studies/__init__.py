"""Tests of maps that the field uses, on real classifiers and on small ones: a study each.

Every classifier is cut before its pooling, so that one forward pass serves all maps of an image.
"""
