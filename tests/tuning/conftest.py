"""What the tests of searches share."""

from pathlib import Path

import pytest

from fer_hierarchy.hierarchy.config import RunConfig, apply_flags
from tests.tuning.quick_stage import SEEN, QuickStage


@pytest.fixture
def quick(monkeypatch):
    """The quick stage, with an empty memory."""
    SEEN.clear()
    monkeypatch.setattr(
        "fer_hierarchy.tuning.search.trial_training.gc.collect", lambda: 0
    )  # there are no networks to collect
    monkeypatch.setattr("fer_hierarchy.tuning.search.trial_training.keras.backend.clear_session", lambda: None)
    monkeypatch.setattr(QuickStage, "interrupt_after", None)
    return QuickStage


@pytest.fixture
def config(fer_folder: Path) -> RunConfig:
    """Settings of a small search."""
    return apply_flags(RunConfig(), {"data": str(fer_folder), "image_size": "16", "epochs": "2"})
