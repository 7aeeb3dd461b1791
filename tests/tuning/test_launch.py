"""A chief and workers started on one machine: what they are told, what is shown, and that none is left behind."""

import ast
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.tuning import launch
from fer_hierarchy.tuning.launch import main, plan
from tests.conftest import CHECKOUT

CLUSTER = CHECKOUT / "tuning" / "cluster"
CLUSTER_FLAGS = {
    *("--mode", "--stage", "--tuner", "--data", "--study-dir", "--name", "--resume"),
    *("--distributed", "--oracle", "--wait", "--max-trials"),
}
# Plays the search: its name says how chief and workers behave.
SEARCH = """
import json, os, socket, sys, time
from pathlib import Path

def value(flag):
    return sys.argv[sys.argv.index(flag) + 1]

role, name, folder = value("--distributed"), value("--name"), Path(value("--study-dir"))
(folder / f"{role}-{os.getpid()}.json").write_text(json.dumps({"argv": sys.argv[1:], "env": dict(os.environ)}))
if role == "chief" and name == "bad":
    sys.exit("error: no such stage")
try:
    if role == "chief":
        host, port = value("--oracle").split(":")
        server = socket.create_server((host, int(port)))
        needed = {"alone": "done-*"}.get(name, "worker-*")
        while name in ("waits", "forlorn") or len(list(folder.glob(needed))) < 2 - (name == "alone"):
            time.sleep(0.02)
        print("the best trial is 3")
        sys.exit(7 if name == "code7" else 0)
    try:
        (folder / "first").touch(exist_ok=False)  # workers that start together must not both be, or neither
        first = True
    except FileExistsError:
        first = False
    if name in ("outlives", "waits"):
        time.sleep(60)
    if name == "forlorn" or (name == "alone" and first):
        sys.exit(3)
    if name == "alone":
        time.sleep(0.5)
    print("trial done", flush=True)
    (folder / f"done-{os.getpid()}").touch()
except KeyboardInterrupt:
    print(f"{role} has saved", flush=True)
    sys.exit(130)
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Launches two workers of the played search in this process."""
    script = tmp_path / "search.py"
    script.write_text(SEARCH)
    monkeypatch.setattr(launch, "_SEARCH", (sys.executable, str(script)))
    monkeypatch.setattr(launch, "_GRACE", 0.3)
    monkeypatch.setattr(launch, "_POLL", 0.02)
    return lambda name, *flags: main(["--workers", "2", "--name", name, "--study-dir", str(tmp_path), *flags])


def records(folder, role):
    return [json.loads(path.read_text()) for path in folder.glob(f"{role}-*.json")]


def alive(folder):
    """Processes of the played search that still run."""
    pids = [int(path.stem.partition("-")[2]) for path in folder.glob("*-*.json")]
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_chief_and_workers_are_told_what_they_need(run, tmp_path):
    assert run("plain", "--stage", "valence", "--data", "a", "--data", "b", "--mode", "tune") == 0
    (chief,), workers = records(tmp_path, "chief"), records(tmp_path, "worker")
    oracle = chief["argv"][chief["argv"].index("--oracle") + 1]
    common = ["--mode", "tune", "--oracle", oracle, "--distributed"]
    rest = ["--name", "plain", "--study-dir", str(tmp_path), "--data", "a", "--data", "b"]
    assert chief["argv"] == [*common, "chief", *rest, "--stage", "valence"]
    assert [worker["argv"] for worker in workers] == [[*common, "worker", *rest]] * 2
    assert oracle.startswith("127.0.0.1:")


def test_workers_share_the_cores(run, tmp_path, monkeypatch):
    monkeypatch.setattr(launch, "_cores", lambda: 5)
    assert run("plain") == 0
    limits = [[worker["env"][name] for name in launch.CORE_LIMITS] for worker in records(tmp_path, "worker")]
    assert limits == [["2", "2", "2"]] * 2
    assert not set(launch.CORE_LIMITS) & records(tmp_path, "chief")[0]["env"].keys() - os.environ.keys()


def test_every_line_says_who_speaks(run, capfd):
    assert run("plain") == 0
    lines = capfd.readouterr().out.splitlines()
    assert {"[chief] the best trial is 3", "[worker 1] trial done", "[worker 2] trial done"} <= set(lines)
    assert all(re.match(r"\[(chief|worker \d|tuning\.launch)\] ", line) for line in lines)


def test_the_chiefs_code_is_handed_on(run):
    assert run("code7") == 7


def test_a_chief_that_refuses_its_flags_starts_no_worker(run, tmp_path, capfd):
    assert run("bad") == 1
    assert "[chief] error: no such stage" in capfd.readouterr().err
    assert not records(tmp_path, "worker")


def test_when_a_worker_dies_the_other_goes_on(run, capfd):
    assert run("alone") == 0
    assert re.search(r"worker \d has ended with code 3; the others go on\n", capfd.readouterr().out)


def test_a_death_between_the_last_look_and_the_end_is_told_of(run, capfd, monkeypatch):
    monkeypatch.setattr(launch, "_POLL", 1.0)  # all is over when it looks again
    assert run("alone") == 0
    assert re.search(r"worker \d has ended with code 3", capfd.readouterr().out)


def test_when_all_workers_die_it_says_so(run, tmp_path, capfd):
    assert run("forlorn") == 2
    shown = capfd.readouterr()
    assert "tuning.launch: error: all workers have died and the chief waits in vain" in shown.err
    assert "--resume forlorn" in shown.err
    assert "[chief] chief has saved" in shown.out
    assert not alive(tmp_path)


def test_workers_that_outlive_the_chief_are_ended(run, tmp_path):
    assert run("outlives") == 0
    assert not alive(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_reaches_all_and_is_waited_for(tmp_path, number):
    script = tmp_path / "search.py"
    script.write_text(SEARCH)
    command = f"(sys.executable, {str(script)!r})"
    code = f"import sys; from fer_hierarchy.tuning import launch; launch._SEARCH = {command}; sys.exit(launch.main())"
    flags = ("--workers", "2", "--name", "waits", "--study-dir", str(tmp_path))
    started = subprocess.Popen(
        [sys.executable, "-c", code, *flags], cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    while len(records_of_all(tmp_path)) < 3 and started.poll() is None:
        time.sleep(0.05)
    time.sleep(0.2)
    started.send_signal(number)
    said, _ = started.communicate(timeout=20)
    assert started.returncode == 130, said
    assert "[chief] chief has saved" in said
    assert said.count("worker has saved") == 2
    assert not alive(tmp_path)


def records_of_all(folder):
    return list(folder.glob("chief-*.json")) + list(folder.glob("worker-*.json"))


def test_a_study_given_as_a_path_is_found_by_the_workers(tmp_path):
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "study.json").write_text("{}")
    planned = plan(["--workers", "1", "--resume", str(tmp_path / "first"), "--max-trials", "9"])
    assert planned.chief == ("--resume", str(tmp_path / "first"), "--max-trials", "9")
    assert planned.study == "first"
    assert planned.worker == ("--study-dir", str(tmp_path))


def test_workers_are_told_the_name_that_a_study_of_drawn_faces_gets(run, tmp_path):
    for age, name in ((100, "plain"), (0, "synthetic-plain")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "study.json").write_text("{}")
        os.utime(tmp_path / name / "study.json", (1e9 - age, 1e9 - age))
    assert run("plain") == 0
    (worker, _) = records(tmp_path, "worker")
    assert worker["argv"][worker["argv"].index("--name") + 1] == "synthetic-plain"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ((), "--workers"),
        (("--workers", "0", "--name", "a"), "--workers: expected a whole number from 1 to 256, got '0'"),
        (("--workers", "two", "--name", "a"), "--workers: expected a whole number"),
        (("--workers", "2", "--name", "a", "--port", "70000"), "--port: expected a whole number from 1 to 65535"),
        (("--workers", "2"), "--name NAME of a new study or --resume STUDY is needed"),
        (("--workers", "2", "--name", "a", "--resume", "b"), "one of them"),
        (
            ("--workers", "2", "--name", "a", "--mode", "flat"),
            "--mode: tuning.launch starts searches only",
        ),
        (("--workers", "2", "--name", "a", "--oracle", "x:1"), "--oracle is set by tuning.launch"),
        (
            ("--workers", "2", "--name", "a", "--distributed", "chief"),
            "--distributed is set by tuning.launch",
        ),
    ],
)
def test_bad_input_is_one_line(argv, words):
    with pytest.raises(UserError) as error:
        plan(argv)
    assert words in str(error.value)


def test_launching_loads_nothing_heavy():
    code = (
        "import sys, fer_hierarchy.tuning.launch;"
        "print([n for n in ('numpy', 'keras', 'keras_tuner', 'grpc') if n in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert ast.literal_eval(said.stdout) == []


def test_the_slurm_script_is_sound():
    subprocess.run(["bash", "-n", str(CLUSTER / "slurm.sh")], check=True)
    assert flags_in(CLUSTER / "slurm.sh") <= CLUSTER_FLAGS


@pytest.fixture
def slurm_task(tmp_path):
    """Runs one task of the Slurm script, in which Python only notes its arguments and what the chief's file holds."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/bash\necho "$@" >> {tmp_path}/calls\ncat {tmp_path}/.*.chief >> {tmp_path}/calls\n')
    python.chmod(0o755)
    own = {"NAME": "gate", "DATA": "faces", "STUDIES": str(tmp_path), "PYTHON": str(python)}
    slurm = {"SLURM_SUBMIT_DIR": str(tmp_path), "SLURM_ARRAY_JOB_ID": "41", "SLURMD_NODENAME": "node3"}

    def run(task, *flags):
        environment = {**os.environ, **own, **slurm, "SLURM_ARRAY_TASK_ID": str(task)}
        command = ["bash", str(CLUSTER / "slurm.sh"), *flags]
        done = subprocess.run(command, env=environment, check=True, timeout=20, capture_output=True, text=True)
        calls = tmp_path / "calls"
        said = calls.read_text().splitlines() if calls.is_file() else []
        calls.unlink(missing_ok=True)
        return said, done.stdout

    return run


def test_the_slurm_chief_tells_where_it_is_and_goes_on_with_a_study(slurm_task, tmp_path):
    (call, address), _ = slurm_task(0, "--stage", "valence")
    assert address == "node3:20041"
    start = "tf_model.py --mode tune --distributed chief --oracle 0.0.0.0:20041"
    assert call == f"{start} --study-dir {tmp_path} --name gate --data faces --stage valence"
    (tmp_path / "gate").mkdir()
    (tmp_path / "gate" / "study.json").touch()
    (call, _), _ = slurm_task(0, "--stage", "valence")
    assert call == f"{start} --study-dir {tmp_path} --resume gate"


def test_a_slurm_worker_finds_the_chief_and_does_not_wait_for_one_that_is_done(slurm_task, tmp_path):
    (tmp_path / ".gate-41.chief").write_text("node3:20041\n")
    (call, _), _ = slurm_task(1)
    assert "--distributed worker --oracle node3:20041" in call
    slurm_task(0)
    calls, said = slurm_task(1)
    assert not calls
    assert "was over" in said


def test_the_kubernetes_manifest_is_sound():
    assert flags_in(CLUSTER / "kubernetes.yaml") <= CLUSTER_FLAGS
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    kinds = [part["kind"] for part in yaml.safe_load_all((CLUSTER / "kubernetes.yaml").read_text())]
    assert kinds == ["PersistentVolumeClaim", "Service", "Job", "Job"]


def test_the_search_knows_the_flags_of_the_cluster_files():
    from fer_hierarchy.hierarchy.cli.modes import MODES
    from fer_hierarchy.hierarchy.cli.program import flags_of

    assert set(flags_of(MODES["tune"])) >= CLUSTER_FLAGS


def flags_in(path):
    """Words like --flag outside of comments and of what the scheduler reads."""
    lines = [line.partition("#")[0] for line in path.read_text().splitlines()]
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", "\n".join(lines)))
