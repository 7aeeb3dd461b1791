"""Facial emotion recognition by a hierarchy of classifiers.

In a checkout the packages stand beside this folder, and this package's path holds the folder above it; in an installed
copy they lie below it. Either way each has one name: `fer_hierarchy.hierarchy`, `fer_hierarchy.models` and so on.
"""

from pathlib import Path

__version__ = "0.1.0"

_ABOVE = Path(__file__).resolve().parent.parent
if (_ABOVE / "tf_model.py").is_file():
    __path__.append(str(_ABOVE))
