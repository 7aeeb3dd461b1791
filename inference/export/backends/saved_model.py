"""A whole run as TensorFlow's SavedModel, a folder that TensorFlow and TensorFlow Serving load without our code."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.inference.export.metadata import read_from_saved_model
from fer_hierarchy.inference.model import Metadata, Model

INPUT = "faces"
OUTPUT = "probabilities"
SIGNATURE = "serving_default"

_BATCH = 256  # faces; more at once take memory and no less time


class SavedModel(Model):
    """An exported run; see `Model`."""

    def __init__(self, folder: Path, facts: Metadata, loaded: Any) -> None:
        self.facts = facts
        self.source = str(folder)
        self._loaded = loaded  # its functions live no longer than it
        self._call = loaded.signatures[SIGNATURE]

    def emotions(self, faces: np.ndarray) -> np.ndarray:
        """P(emotion|x) of faces (n, size, size, channels) uint8: (n, emotions) float32."""
        starts = range(0, len(faces), _BATCH)
        parts = [self._call(**{INPUT: tf.constant(faces[start : start + _BATCH])})[OUTPUT].numpy() for start in starts]
        return np.concatenate(parts)


def open_file(path: Path) -> SavedModel:
    """Open a SavedModel.

    Args:
        path: The folder.

    Raises:
        UserError: It is damaged or not ours.
    """
    facts = read_from_saved_model(path)
    try:
        return SavedModel(path, facts, tf.saved_model.load(str(path)))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, tf.errors.OpError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"model {path} is damaged ({reason}); export the run again") from error
