"""Tiny data sets on disk. Sources never open an image, so an empty file stands for one."""

import pytest


@pytest.fixture
def place(tmp_path):
    """Make empty files below tmp_path/data; returns that folder."""
    root = tmp_path / "data"

    def make(*names):
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).touch()
        return root

    return make


@pytest.fixture
def write(tmp_path):
    """Write lines to a file below tmp_path; returns its path."""

    def make(name, *lines):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return make
