"""Depth: files of several kinds, planes with holes, and pairs of a picture and its depth."""
