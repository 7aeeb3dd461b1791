"""The run folder: names, notes, log, records, and errors in one line."""

import json
import logging
import math
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import filelock
import pandas as pd
import pytest

from fer_hierarchy.hierarchy import paths
from fer_hierarchy.hierarchy.classifiers.stage import Stage
from fer_hierarchy.hierarchy.config import DataConfig, RunConfig, StageConfig, load_config
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.json_text import read_written
from fer_hierarchy.hierarchy.paths import ROOT, atomic_write
from fer_hierarchy.hierarchy.runs import run_folder
from fer_hierarchy.hierarchy.runs.run import Run

LOG = logging.getLogger("fer_hierarchy")


@pytest.fixture
def results(tmp_path):
    """A results folder that holds one run, `first`."""
    with run_folder.new_folder(tmp_path / "results", "first") as folder:
        run_folder.write_json(folder / paths.CONFIG, RunConfig(name="first", seed=5).to_dict())
    return tmp_path / "results"


def test_importing_runs_loads_no_heavy_library():
    code = (
        "import sys, fer_hierarchy.hierarchy.runs.run_folder;"
        "print(sorted({'numpy', 'pandas', 'tensorflow', 'keras'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["a", "my-run_2", "fer2013-flat-compact_resnet-seed0", "a.b+c", "größe", "2nd"])
def test_usable_names_pass(name, tmp_path):
    run_folder.check_name(name, tmp_path)
    with run_folder.new_folder(tmp_path, name) as folder:
        assert folder.is_dir()


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../up", "a/b", "/tmp/x", "a\\b", ".hidden", "a:b", "a*", "what?", "a b", "a\nb", "a\0b", "-x"],
)
def test_names_that_are_no_folder_name_are_refused(name, tmp_path):
    with pytest.raises(UserError, match="--name") as error:
        run_folder.check_name(name, tmp_path)
    assert "letters, digits" in str(error.value)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_name_too_long_for_a_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="up to 200 letters"):
        run_folder.check_name("x" * 300, tmp_path)


def test_a_taken_name_is_refused_with_a_way_out(results):
    for refuse in (run_folder.check_name, lambda name, folder: run_folder.new_folder(folder, name).__enter__()):
        with pytest.raises(UserError, match=r"'first'.*exists already; choose another name or --resume first"):
            refuse("first", results)


BEGIN = """
import os, signal, sys
from pathlib import Path
from fer_hierarchy.hierarchy.runs import run_folder
with run_folder.new_folder(Path(sys.argv[1]), "run") as folder:
    (folder / "half").write_text("written")
    if sys.argv[2] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    print("begun", flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_process_has_begun_takes_no_name(tmp_path):
    subprocess.run([sys.executable, "-c", BEGIN, tmp_path, "die"], cwd=ROOT, check=False)
    assert (tmp_path / "run" / "half").is_file()
    run_folder.check_name("run", tmp_path)
    assert run_folder.free_name("run", tmp_path) == "run"
    with run_folder.new_folder(tmp_path, "run") as folder:
        assert not (folder / "half").exists()
        run_folder.write_json(folder / paths.CONFIG, {})
    assert [path.name for path in (tmp_path / "run").iterdir()] == [paths.CONFIG]


def test_a_folder_that_another_process_is_making_is_taken(tmp_path):
    words = [sys.executable, "-c", BEGIN, tmp_path, "wait"]
    with subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "begun\n"
        with pytest.raises(UserError, match="exists already"):
            run_folder.check_name("run", tmp_path)
        other.stdin.close()
    with pytest.raises(UserError, match="exists already"):
        run_folder.check_name("run", tmp_path)


def test_of_many_that_begin_at_once_one_makes_the_folder(tmp_path):
    together = threading.Barrier(8)

    def begin(number, name):
        together.wait()
        try:
            with run_folder.new_folder(tmp_path, name) as folder:
                (folder / "who").write_text(str(number))
        except UserError:
            return None
        return number

    with ThreadPoolExecutor(8) as pool:
        for turn in range(40):
            made = [number for number in pool.map(begin, range(8), [f"run{turn}"] * 8) if number is not None]
            assert len(made) == 1
            assert [path.name for path in (tmp_path / f"run{turn}").iterdir()] == ["who"]
            assert (tmp_path / f"run{turn}" / "who").read_text() == str(made[0])


def test_a_folder_that_another_process_removes_meanwhile_is_refused_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(run_folder, "_others", lambda folder: shutil.rmtree(folder) or [])
    with pytest.raises(UserError, match="another process makes"), run_folder.new_folder(tmp_path, "run"):
        pass


def test_a_folder_that_another_process_removes_while_it_is_checked_is_free(tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    others = run_folder._others
    monkeypatch.setattr(run_folder, "_others", lambda folder: others(shutil.rmtree(folder) or folder))
    assert not run_folder.is_taken(tmp_path / "run")


def test_a_folder_that_is_finished_while_it_is_checked_keeps_no_lock(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / ".unfinished").touch()

    class Finishing(filelock.FileLock):
        def acquire(self, *args, **options):
            (folder / ".unfinished").rename(folder / "report.html")
            return super().acquire(*args, **options)

    monkeypatch.setattr(filelock, "FileLock", Finishing)
    assert run_folder.is_taken(folder)
    assert [path.name for path in folder.iterdir()] == ["report.html"]


def test_a_folder_that_the_user_has_made_is_free_while_it_is_empty(tmp_path):
    (tmp_path / "run").mkdir()
    with run_folder.new_folder(tmp_path, "run") as folder:
        (folder / "file").touch()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="exists already"), run_folder.new_folder(tmp_path, "other"):
        pass
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_files_and_folders_are_open_to_whom_the_user_opens_them(tmp_path, mask):
    code = (
        "import sys; from pathlib import Path; from fer_hierarchy.hierarchy.paths import atomic_folder, atomic_write\n"
        "with atomic_write(Path(sys.argv[1]) / 'file') as file: file.write_text('x')\n"
        "with atomic_folder(Path(sys.argv[1]) / 'folder') as folder: pass\n"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path], cwd=ROOT, check=True, umask=mask)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o666 & ~mask
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o777 & ~mask


def test_tables_hold_any_name(tmp_path):
    names = ["a\rb.png", "c\nd.png", 'e"f,g.png', " h.png", "007", "NA"]
    run_folder.write_table(tmp_path / "table.csv", pd.DataFrame({"row": names, "number": range(6)}))
    table = run_folder.read_table(tmp_path / "table.csv", text=["row"], remedy="write it again")
    assert table["row"].tolist() == names
    assert table["number"].tolist() == list(range(6))


def test_no_name_is_no_wrong_name(tmp_path):
    run_folder.check_name(None, tmp_path)


def test_default_names_tell_the_data_mode_model_and_seed(tmp_path):
    assert run_folder.default_name(RunConfig(), "ck48", tmp_path) == "ck48-hierarchical-compact_resnet-seed0"
    config = RunConfig(
        mode="flat", seed=3, data=DataConfig(exclude=("disgust", "fear")), stage=StageConfig(model="hierarchical_cnn")
    )
    assert run_folder.default_name(config, "fer2013", tmp_path) == "fer2013-flat-no-disgust-fear-hierarchical_cnn-seed3"
    mixed = RunConfig(stages={"valence": {"model": "hierarchical_cnn"}, "positive": {"epochs": 2}})
    assert run_folder.default_name(mixed, "ck48", tmp_path) == "ck48-hierarchical-compact_resnet+hierarchical_cnn-seed0"


def test_default_names_say_synthetic_and_are_usable(tmp_path):
    name = run_folder.default_name(RunConfig(), "synthetic", tmp_path)
    assert "synthetic" in name
    run_folder.check_name(name, tmp_path)


def test_default_names_are_free(tmp_path):
    names = []
    for _ in range(3):
        names.append(run_folder.default_name(RunConfig(), "ck48", tmp_path))
        with run_folder.new_folder(tmp_path, names[-1]) as folder:
            run_folder.write_json(folder / paths.CONFIG, {})
    stem = "ck48-hierarchical-compact_resnet-seed0"
    assert names == [stem, f"{stem}-2", f"{stem}-3"]


def test_a_run_is_found_by_name_and_by_path(results, monkeypatch):
    assert Run("first", results=results).folder == results / "first"
    assert Run(str(results / "first"), results=results / "elsewhere").folder == results / "first"
    monkeypatch.chdir(results)
    assert Run("first", results=results / "elsewhere").folder.resolve() == results / "first"
    assert Run("first", results=results).config.seed == 5


def test_a_folder_of_the_run_s_name_elsewhere_does_not_hide_it(results, tmp_path, monkeypatch):
    (tmp_path / "first").mkdir()
    monkeypatch.chdir(tmp_path)
    assert Run("first", results=results).folder == results / "first"


def test_an_unknown_run_lists_those_that_are_there(results, tmp_path):
    with pytest.raises(UserError, match=r"no run 'second'.*runs there: first"):
        Run("second", results=results)
    with pytest.raises(UserError, match="runs there: none"):
        Run("second", results=tmp_path / "absent")


def test_a_folder_that_no_run_made_is_refused(results):
    (results / "other").mkdir()
    with pytest.raises(UserError, match=r"other is not a run: it has no config\.json"):
        Run("other", results=results)


def test_a_run_name_that_no_folder_can_have_is_one_line(results):
    with pytest.raises(UserError, match="name a run in"):
        Run("x" * 300, results=results)


def test_results_that_cannot_be_written_are_refused_before_any_work(tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / ("x" * 300)):
        with pytest.raises(UserError, match=r"cannot write results to .*--results DIR"):
            run_folder.check_writable(place)
    with pytest.raises(UserError, match="cannot write"):
        run_folder.new_folder(tmp_path / "file", "run").__enter__()
    with pytest.raises(UserError, match=r"cannot write logs to /proc/absent: .*--logs DIR"):
        run_folder.check_writable(Path("/proc/absent"), "logs")
    run_folder.check_writable(tmp_path / "new" / "deep")
    assert not (tmp_path / "new").exists()


def test_what_is_done_leaves_no_temporary_file_of_a_killed_process(tmp_path):
    stage = tmp_path / "stages" / "flat"
    stage.mkdir(parents=True)
    (stage / "model.keras").write_text("kept")
    (tmp_path / ".gitignore").write_text("kept")
    writing = atomic_write(stage / "model.keras")
    left = writing.__enter__()  # a killed process does not come to the end of the block
    with pytest.raises(KeyboardInterrupt), run_folder.resumable(tmp_path, "again"):
        raise KeyboardInterrupt
    assert left.exists()
    with run_folder.resumable(tmp_path, "again"):
        pass
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [".gitignore", "model.keras"]


def test_notes_are_the_warnings_of_the_block_each_once():
    LOG.warning("before")
    with run_folder.collect_notes() as notes:
        LOG.warning("%d faces left out", 3)
        LOG.warning("3 faces left out")
        LOG.info("not for the report")
        logging.getLogger("other").warning("not ours")
        LOG.warning("another")
    LOG.warning("after")
    assert notes == ["3 faces left out", "another"]


def test_notes_end_with_an_error_too():
    with pytest.raises(UserError), run_folder.collect_notes():
        raise UserError("stop")
    with run_folder.collect_notes() as notes:
        LOG.warning("once")
    assert notes == ["once"]
    assert not any(isinstance(handler, run_folder._Notes) for handler in LOG.handlers)


def test_the_log_goes_on_where_an_interrupted_run_left_it(tmp_path):
    for text in ("one", "two"):
        with run_folder.log_to(tmp_path / "logs" / "run"):
            LOG.warning(text)
    LOG.warning("outside")
    lines = (tmp_path / "logs" / "run" / "run.log").read_text().splitlines()
    assert [line.split(" ", 2)[2] for line in lines] == ["WARNING one", "WARNING two"]


def test_environment_says_what_the_run_was_made_with():
    record = run_folder.environment("python tf_model.py --mode flat")
    assert record["command"] == "python tf_model.py --mode flat"
    for package in ("tensorflow", "keras", "numpy", "pandas", "scikit-learn", "imbalanced-learn", "opencv-python"):
        assert record["packages"][package][0].isdigit(), package
    assert record["python"].startswith("3.")
    assert record["processor"]
    assert record["cores"] >= 1
    commit = record["commit"].removesuffix("+changes")
    assert commit == "unknown" or (len(commit) == 40 and int(commit, 16) >= 0)
    json.dumps(record, allow_nan=False)


def test_environment_outside_a_checkout_knows_no_commit(tmp_path, monkeypatch):
    monkeypatch.setattr(run_folder, "CHECKOUT", tmp_path)
    monkeypatch.setattr(run_folder, "_PACKAGES", ("no-such-package-at-all",))
    record = run_folder.environment("x")
    assert record["commit"] == "unknown"
    assert record["packages"] == {"no-such-package-at-all": "not installed"}


def test_json_comes_back_and_nan_is_refused_without_a_trace(tmp_path):
    path = tmp_path / "metrics.json"
    run_folder.write_json(path, {"a": [1, 2.5, None, "ü"]})
    assert run_folder.read_json(path) == {"a": [1, 2.5, None, "ü"]}
    with pytest.raises(ValueError, match="JSON"):
        run_folder.write_json(path, {"a": math.nan})
    assert run_folder.read_json(path) == {"a": [1, 2.5, None, "ü"]}
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.json"]


@pytest.mark.parametrize("content", [None, b"{", b"\xff\xfe"])
def test_missing_or_damaged_json_is_one_line(tmp_path, content):
    path = tmp_path / "metrics.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"metrics\.json is missing or damaged") as error:
        run_folder.read_json(path)
    assert "\n" not in str(error.value)


def test_tables_are_written_without_an_index(tmp_path):
    run_folder.write_table(tmp_path / "splits.csv", pd.DataFrame({"row": ["a"], "split": ["test"]}, index=[7]))
    assert (tmp_path / "splits.csv").read_text() == "row,split\na,test\n"


MAKE = """
import os, signal, sys
from pathlib import Path
from fer_hierarchy.hierarchy.paths import atomic_folder
with atomic_folder(Path(sys.argv[1]) / "made") as folder:
    (folder / "half").write_text("written")
    if sys.argv[2] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    print("begun", flush=True)
    sys.stdin.read()
"""


def test_the_next_call_removes_what_a_killed_one_left_of_a_folder_and_no_other(tmp_path):
    subprocess.run([sys.executable, "-c", MAKE, tmp_path, "die"], cwd=ROOT, check=False)
    (dead,) = tmp_path.iterdir()
    words = [sys.executable, "-c", MAKE, tmp_path, "wait"]
    with subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "begun\n"
        assert not dead.exists()
        (alive,) = tmp_path.iterdir()
        with paths.atomic_folder(tmp_path / "made") as folder:
            (folder / "whole").write_text("written")
        assert alive.exists()
        other.stdin.close()
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


@pytest.mark.parametrize(
    "read",
    [
        lambda path: run_folder.read_json(path),
        lambda path: run_folder.read_table(path, remedy="start a new run"),
        lambda path: load_config(path),
        lambda path: read_written(path, "the taxonomy"),
        lambda path: Stage.load(path.parent),
    ],
)
def test_a_pipe_in_place_of_a_file_is_refused_and_never_waited_for(tmp_path, read):
    os.mkfifo(tmp_path / "stage.json")
    writer = threading.Timer(5, lambda: (tmp_path / "stage.json").write_text(""))  # ends the waiting, so that it fails
    writer.daemon = True
    writer.start()
    with pytest.raises(UserError, match="is no file but a folder, a pipe or a device"):
        read(tmp_path / "stage.json")
    writer.cancel()
