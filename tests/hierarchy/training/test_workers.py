"""Tasks in processes of Ray: each is done once, or again where its process dies, and what goes wrong is one line."""

import os
import subprocess
import sys
import time

import pytest

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.paths import ROOT
from fer_hierarchy.hierarchy.progress import Progress
from fer_hierarchy.hierarchy.training import workers as module
from fer_hierarchy.hierarchy.training.workers import Task, WorkerConfig, open_workers
from tests.hierarchy.training import tasks

pytest.importorskip("ray", reason="ray is not installed")


@pytest.fixture(scope="module")
def two():
    with open_workers(WorkerConfig(workers=2)) as pool:
        yield pool


def results(pool, **given):
    """What becomes of tasks: name -> (function, arguments)."""
    waiting = iter([Task(name=name, work=1, function=f, arguments=own) for name, (f, *own) in given.items()])
    progress = Progress(len(given))
    found = {task.name: value for task, value in pool.results(lambda: next(waiting, None), progress)}
    assert progress.done == len(given)
    return found


def test_tasks_run_at_once_in_other_processes(two, tmp_path):
    found = results(two, a=(tasks.meet, tmp_path, "a", "b"), b=(tasks.meet, tmp_path, "b", "a"))
    assert found["a"] != found["b"]
    assert os.getpid() not in found.values()


def test_each_task_has_the_threads_of_its_cores(two):
    assert results(two, a=(tasks.threads,)) == {"a": "1"}


def test_an_error_of_a_task_is_its_result_and_its_warnings_are_shown(two, caught_logs):
    found = results(two, good=(tasks.warn, "mind this"), bad=(tasks.refuse,))
    assert found["good"] == 7
    assert isinstance(found["bad"], UserError)
    assert str(found["bad"]) == "no such thing"
    assert "mind this" in caught_logs.messages


@pytest.mark.slow
def test_a_task_whose_process_dies_is_done_again(two, tmp_path):
    assert results(two, a=(tasks.die_until, tmp_path / "deaths", 2)) == {"a": 3}


DIES = """
import sys
from pathlib import Path
from fer_hierarchy.hierarchy.progress import Progress
from fer_hierarchy.hierarchy.training.workers import Task, WorkerConfig, open_workers
from tests.hierarchy.training import tasks

waiting = iter([Task(name="a", work=1, function=tasks.die_until, arguments=(Path(sys.argv[1]), 99))])
with open_workers(WorkerConfig(workers=1)) as pool:
    for task, error in pool.results(lambda: next(waiting, None), Progress(1)):
        print(task.name, type(error).__name__, error)
"""


@pytest.mark.slow
def test_a_task_whose_process_always_dies_is_given_up_in_one_line(tmp_path):
    words = [sys.executable, "-c", DIES, tmp_path / "deaths"]
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout == "a WorkerDiedError a: its process died 4 times\n"


def test_what_ends_the_caller_ends_the_tasks(two, tmp_path):
    def check():
        if (tmp_path / "begun").exists():
            raise KeyboardInterrupt

    waiting = iter([Task(name="a", work=1, function=tasks.go_on, arguments=(tmp_path,))])
    with pytest.raises(KeyboardInterrupt):
        list(two.results(lambda: next(waiting, None), Progress(1), check))
    assert (tmp_path / "ended").exists()


def test_another_version_of_a_library_is_refused(two, monkeypatch):
    monkeypatch.setattr(module, "_versions", lambda: {"fer_hierarchy": "9.9"})
    assert "a worker has fer_hierarchy" in str(results(two, a=(tasks.threads,))["a"])


def test_without_ray_one_line_names_the_extra(monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"need Ray, which is not installed: pip install 'fer-hierarchy\[ray\]'"):
        WorkerConfig(workers=2)
    assert not WorkerConfig().used


def test_an_address_without_a_cluster_is_one_line():
    before = time.monotonic()
    with pytest.raises(UserError, match=r"--ray 127.0.0.1:1: no cluster can be joined there .*ray start --head"):
        open_workers(WorkerConfig(ray="127.0.0.1:1")).__enter__()
    assert time.monotonic() - before < 30, "Ray alone tries for minutes"
