"""Downloads go through kagglehub, and say what to do by hand where they cannot."""

import sys
from types import ModuleType

import pytest

from fer_hierarchy.hierarchy.data.download import KAGGLE_SLUGS, download
from fer_hierarchy.hierarchy.data.sources import source_names
from fer_hierarchy.hierarchy.errors import UserError


@pytest.fixture
def kaggle(tmp_path, monkeypatch):
    """A kagglehub that serves one small data set and notes what it was asked for."""
    served = tmp_path / "kaggle-cache" / "versions" / "1"
    (served / "train" / "happy").mkdir(parents=True)
    (served / "train" / "happy" / "Training_1.jpg").write_bytes(b"face")
    module = ModuleType("kagglehub")
    module.asked = []

    def dataset_download(slug):
        module.asked.append(slug)
        return str(served)

    module.dataset_download = dataset_download
    monkeypatch.setitem(sys.modules, "kagglehub", module)
    return module


def test_a_data_set_lands_in_the_named_folder(tmp_path, kaggle):
    to = tmp_path / "data" / "fer2013"
    assert download("fer2013", to) == to
    assert (to / "train/happy/Training_1.jpg").read_bytes() == b"face"
    assert kaggle.asked == ["msambare/fer2013"]
    assert [path.name for path in to.parent.iterdir()] == ["fer2013"]


def test_every_slug_belongs_to_a_source():
    assert set(KAGGLE_SLUGS) <= set(source_names())


def test_an_unknown_data_set_lists_the_known(tmp_path):
    with pytest.raises(UserError, match="affectnet cannot be downloaded; these can: fer2013"):
        download("affectnet", tmp_path / "x")


def test_a_folder_in_use_is_not_touched(tmp_path, kaggle):
    (tmp_path / "mine.txt").write_text("keep", encoding="utf-8")
    with pytest.raises(UserError, match="in use already"):
        download("fer2013", tmp_path)
    assert kaggle.asked == []


def test_without_kagglehub_the_message_names_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(UserError, match=r"pip install kagglehub; or by hand: .*kaggle.com/datasets/msambare/fer2013"):
        download("fer2013", tmp_path / "fer2013")


def test_without_network_the_message_is_one_line_and_names_what_to_fetch(tmp_path, kaggle):
    def fail(_slug):
        raise ConnectionError("Max retries exceeded\nName or service not known")

    kaggle.dataset_download = fail
    to = tmp_path / "data" / "fer2013"
    with pytest.raises(UserError, match="Max retries exceeded Name") as caught:
        download("fer2013", to)
    assert "\n" not in str(caught.value)
    assert "https://www.kaggle.com/datasets/msambare/fer2013" in str(caught.value)
    assert str(to) in str(caught.value)
    assert not to.parent.exists()


def test_a_copy_that_fails_leaves_nothing_behind(tmp_path, kaggle, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fer_hierarchy.hierarchy.data.download.shutil.copytree", full)
    with pytest.raises(UserError, match="No space left on device"):
        download("fer2013", tmp_path / "data" / "fer2013")
    assert list((tmp_path / "data").iterdir()) == []
