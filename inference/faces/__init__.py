"""Faces in pictures: detectors, crops, and tracks through a video."""
