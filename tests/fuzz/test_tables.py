"""Tables and lists that people write, called in this process: thousands of csv files, votes and lists of file names.

The tables are sound ones of each kind with what spreadsheets, editors and other systems make of them: odd cells,
missing and doubled columns, rows of other lengths, quotes, separators, line ends, byte order marks and encodings.
"""

import io
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fer_hierarchy.hierarchy.data import images
from fer_hierarchy.hierarchy.data.decoding import BadImageError, read_image
from fer_hierarchy.hierarchy.data.sources import read_source
from fer_hierarchy.hierarchy.data.sources._votes import CHOICES
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.experiments.crossval_table import read_folds
from fer_hierarchy.hierarchy.runs.run import Run, read_splits
from fer_hierarchy.inference.output.rows import RowFile
from fer_hierarchy.inference.priors import Prior
from fer_hierarchy.inference.sources.inputs import find_items
from fer_hierarchy.tuning.search.trial_table import read_trials
from tests.conftest import write_fer_folder
from tests.fuzz.test_parsers import FUZZ

PARTS = ["", " ", "-1", "0.5", "9" * 400, "1e999", "nan", "inf", "None", "..", "/", "=1+1", "a/b", "x" * 300, "٣", "²"]
BREAKS = ["\0", '"', '""', "'", ",", ";", "\t", "\n", "\r", "\x0b", "\x85", "\u2028", "\ufeff", "\U0001f600"]
ODD = st.text(max_size=6) | st.sampled_from(PARTS + BREAKS)
ENCODINGS = ("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "latin-1", "cp1252")
PLACES = st.integers(min_value=0, max_value=400)


def words(*known: str) -> st.SearchStrategy[str]:
    """A cell: mostly one of those known."""
    return st.sampled_from(known) | st.sampled_from(known) | ODD


@st.composite
def tables(draw: st.DrawFn, columns: Mapping[str, st.SearchStrategy[str]], *, header: bool = True) -> bytes:
    """A csv of some of the columns, in some order, with up to four rows and up to two strange insertions."""
    names = draw(st.permutations(list(columns)) | st.just(list(columns)))
    names = names[: draw(st.just(len(names)) | st.integers(0, len(names)))]
    rows = draw(st.lists(st.tuples(*(columns[name] for name in names)), max_size=4))
    separator = draw(st.sampled_from([",", ",", ",", ";", "\t", ", "]))
    end = draw(st.sampled_from(["\n", "\n", "\r\n", "\r", "\n\n"]))
    lines = [separator.join(row) for row in ([names] if header else []) + rows]
    text = end.join(lines) + draw(st.sampled_from(["", end]))
    for place, inserted in draw(st.lists(st.tuples(PLACES, ODD), max_size=2)):
        text = text[:place] + inserted + text[place:]
    return text.encode(draw(st.sampled_from(ENCODINGS)), errors="replace")


FACES = {
    "emotion": words("0", "3", "6", "happy"),
    "pixels": words("1 2 3 4", " ".join(["7"] * 2304), "1 2 3", "256 0 0 0"),
    "Usage": words("Training", "PublicTest", "PrivateTest"),
}
VOTES = dict.fromkeys(CHOICES, words("0", "1", "10"))
NAMES = words("fer0000000.png", "fer0000001.png", "Training_0000.png", "train_00001.jpg")
ROW = words("a", "b", "007")
NUMBERS = words("0", "1", "0.25", "1.5e-3")
SPLITS = {
    "row": ROW,
    "emotion": words("happy", "sad"),
    "split": words("train", "test"),
    "source": ROW,
    "subject": ROW,
    "pixel_hash": ROW,
}
EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
PREDICTIONS = dict.fromkeys(("true", "predicted"), words(*EMOTIONS)) | {"row": ROW, "route": words("positive", "")}


def decoded(path: Path, **options: object) -> None:
    """Read the manifest and the faces."""
    images.load_images(read_source(path, **options), size=8, channels=1, skip_bad=True)


def with_votes(path: Path) -> None:
    faces = path.with_name("fer2013.csv")
    faces.write_text("emotion,pixels,Usage\n0,1,Training\n3,1,PublicTest\n")
    read_source(faces, ferplus=path)


def with_pictures(path: Path) -> None:
    for name in ("fer0000000.png", "fer0000001.png"):
        (path.parent / name).touch()
    read_source(path.parent.parent, dataset="ferplus")


def by_file(path: Path) -> None:
    root = path.with_name("kaggle")
    if not root.is_dir():
        write_fer_folder(root, per_split={"Training": 1})
    read_source(root, ferplus=path)


def listed(path: Path) -> None:
    for split in ("train", "test"):
        (path.parent / split).mkdir(exist_ok=True)
        (path.parent / f"{split}_labels.csv").write_bytes(path.read_bytes())
    decoded(path.parent, dataset="rafdb")


def official(path: Path) -> None:
    aligned = path.parent.parent / "Image" / "aligned"
    aligned.mkdir(parents=True, exist_ok=True)
    (aligned / "train_00001_aligned.jpg").touch()
    decoded(path.parent.parent, dataset="rafdb")


def in_run(path: Path) -> None:
    path.with_name("config.json").write_text("{}")
    run = Run(path.parent)
    for read in (lambda: run.predictions, lambda: read_splits(path.parent)):
        with suppress(UserError):
            read()


COLUMNS = ("file", "run", "faces", "face", "emotion", "happy", "error")
ROWS = dict.fromkeys(COLUMNS, words("a.png", "model", "1", "0.5", ""))


def continued(path: Path) -> None:
    with RowFile(path, COLUMNS, words=(), runs=["model"]) as rows:
        rows.append([])


TABLES: dict[str, tuple[str, st.SearchStrategy[bytes], Callable[[Path], object]]] = {
    "fer2013": ("fer2013.csv", tables(FACES), lambda path: decoded(path, dataset="fer2013")),
    "recognised": ("faces.csv", tables(FACES), decoded),
    "ckextended": ("ckextended.csv", tables(FACES), lambda path: decoded(path.parent)),
    "votes": ("fer2013new.csv", tables({"Usage": FACES["Usage"], "Image name": NAMES, **VOTES}), with_votes),
    "pictures": (
        "set/FER2013Train/label.csv",
        tables({"name": NAMES, "box": words('"(0, 0, 48, 48)"'), **VOTES}, header=False),
        with_pictures,
    ),
    "by file": ("votes.csv", tables({"file": NAMES, "image": NAMES, "emotion": FACES["emotion"], **VOTES}), by_file),
    "rafdb": ("set/labels.csv", tables({"image": NAMES, "label": words("1", "7")}), listed),
    "rafdb list": ("EmoLabel/list_patition_label.txt", tables({"train_00001.jpg 5": NAMES}), official),
    "affectnet": (
        "Manually_Annotated_file_lists/training.csv",
        tables({"subDirectory_filePath": words("1/a.jpg"), "expression": words("1", "8")}),
        lambda path: decoded(path.parent.parent, dataset="affectnet"),
    ),
    "prior": ("prior.csv", tables({"emotion": words("happy"), "share": NUMBERS}), Prior.of),
    "trials": (
        "trials.csv",
        tables({"trial": ROW, "status": words("completed"), "score": NUMBERS, "hp:model": ROW}),
        read_trials,
    ),
    "folds": (
        "folds.csv",
        tables({"repeat": NUMBERS, "fold": NUMBERS, "row": ROW, "subject": ROW}),
        lambda path: read_folds(path.parent),
    ),
    "splits": ("splits.csv", tables(SPLITS), in_run),
    "predictions": (
        "predictions.csv",
        tables({**PREDICTIONS, **{f"p_{emotion}": NUMBERS for emotion in EMOTIONS}}),
        in_run,
    ),
    "rows": ("rows.csv", tables(ROWS), continued),
}


@pytest.mark.parametrize("name", TABLES)
def test_any_table_is_read_or_refused_in_one_line(name, tmp_path, monkeypatch):
    monkeypatch.setenv("FER_CACHE", str(tmp_path / "cache"))
    file, strategy, read = TABLES[name]
    path = tmp_path / "data" / file
    path.parent.mkdir(parents=True)

    @settings(FUZZ, max_examples=FUZZ.max_examples // 2)
    @given(strategy)
    def holds(content: bytes) -> None:
        path.write_bytes(content)
        with suppress(UserError):
            read(path)

    holds()


ENTRIES = st.lists(st.sampled_from(["a.png", "b.mp4", "a b", "é.png", "-", "."]) | ODD, max_size=4)


@st.composite
def lists(draw: st.DrawFn) -> bytes:
    """A list of file names as programs and editors write them, or any bytes."""
    text = draw(st.sampled_from(["\n", "\r\n", "\0"])).join(draw(ENTRIES)) + draw(st.sampled_from(["", "\n", "\0"]))
    return draw(st.sampled_from([b"", b"", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"])) + text.encode(
        draw(st.sampled_from([*ENCODINGS, "utf-16-be"])), errors="replace"
    )


@FUZZ
@given(lists() | st.binary(max_size=40))
def test_any_list_of_names_is_read_or_refused_in_one_line(content):
    with suppress(UserError):
        for item in find_items(["-"], io.BytesIO(content)):
            assert item.is_video in (True, False)
            with suppress(BadImageError):
                read_image(item.path)


@FUZZ
@given(
    st.lists(st.text(st.characters(exclude_characters="\0\r\n", exclude_categories=["Cs", "Zs", "Cc"]), min_size=1)),
    st.sampled_from([("\n", "utf-8"), ("\r\n", "utf-8-sig"), ("\0", "utf-8"), ("\n", "utf-16"), ("\r\n", "utf-16")]),
)
@example(["a.png"], ("\n", "utf-16-le"))
def test_names_are_read_as_they_were_written(names, written):
    end, encoding = written
    plain = [f"x{name}" for name in dict.fromkeys(names)]
    content = "".join(name + end for name in plain).encode(encoding)
    if plain:
        assert [item.name for item in find_items(["-"], io.BytesIO(content))] == plain


def test_a_fold_number_of_many_digits_is_refused(tmp_path):
    (tmp_path / "folds.csv").write_text(f"repeat,fold,row,subject\n0,{'9' * 40},a,b\n")
    with pytest.raises(UserError, match="missing or damaged"):
        read_folds(tmp_path)
