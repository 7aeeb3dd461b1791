"""Most of the time would go into figures and into the comparison of pixels with published ones."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from fer_hierarchy.hierarchy.data.audit.pixels.verdict import Verdict
from fer_hierarchy.hierarchy.data.faces import Faces
from fer_hierarchy.hierarchy.reports import figures


@pytest.fixture
def drawn():
    """Requested by tests of figures: one for each kind of report."""


@pytest.fixture(autouse=True)
def quick_figures(monkeypatch, request):
    """Figures of few pixels, or empty files."""
    monkeypatch.setattr(figures, "DPI", 20)
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr(Figure, "savefig", lambda figure, path, **style: Path(path).write_bytes(b""))


@pytest.fixture(autouse=True)
def unknown_pixels(monkeypatch):
    """Faces that are not compared with published ones."""
    monkeypatch.setattr(Faces, "verdict", Verdict(known=[], altered=False, signs=[], differences=[]))
