"""Any folder of class folders: <root>/<emotion>/... or <root>/{train,validation,test}/<emotion>/..."""

from pathlib import Path

import pandas as pd

from fer_hierarchy.hierarchy.data.sources._listing import class_folders, emotion_word, list_faces, listed_manifest

IMAGE_SIZE = None
LAYOUT = "<emotion>/<image>, or train/<emotion>/<image> beside validation/ (or val/, valid/) and test/"

_NAME = "folder"


def detect(path: Path) -> bool:
    """Whether at least one folder in `path`, or in its split folders, names an emotion."""
    return any(emotion_word(word) for _, word, _ in class_folders(path))


def read(path: Path) -> pd.DataFrame:
    """Read the manifest: emotions by folder name, splits by split folder if there are any, no subjects.

    Args:
        path: The folder that holds the class folders or the split folders.

    Raises:
        UserError: A folder names no emotion, or there is no image.
    """
    return listed_manifest(path, list_faces(path), _NAME)
