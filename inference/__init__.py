"""Predictions of a saved run: for photos, folders, videos and cameras, as exports, and why (`explain`).

from fer_hierarchy.inference import Predictor
frame = Predictor.load("first").predict(images)
"""

from typing import Any


def __getattr__(name: str) -> Any:
    """`Predictor`, loaded when it is first used: the command line imports this package before it needs OpenCV."""
    if name == "Predictor":
        from fer_hierarchy.inference.predictor import Predictor

        return Predictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
