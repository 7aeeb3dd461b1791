"""A search with several workers on this machine: starts a chief and its workers, and shows the lines of each.

python -m fer_hierarchy.tuning.launch --workers 2 --stage positive --data data/fer2013 --name positive
"""

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from fer_hierarchy.hierarchy.cli.console import OneLineParser, run_program
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.paths import CALL, CHECKOUT, COMMAND
from fer_hierarchy.tuning.distributed.address import LAST_PORT, Address
from fer_hierarchy.tuning.search.study import STUDIES, STUDY

PROGRAM = "tuning.launch"
MODULE = f"fer_hierarchy.{PROGRAM}"
MOST_WORKERS = 256
CORE_LIMITS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")

_SEARCH = (sys.executable, *([str(CHECKOUT / "tf_model.py")] if CHECKOUT else ["-m", "fer_hierarchy"]))
_GRACE = 15.0  # seconds in which workers end when the chief has ended
_SAVING = 60.0  # seconds in which an interrupted process saves
_POLL = 0.2  # seconds
_INTERRUPTED = 130
_OWN = ("distributed", "oracle")  # flags of the search that are set here

_printing = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be started.

    Attributes:
        workers: How many.
        address: Where the chief listens.
        chief: Further flags of the chief.
        worker: Further flags of each worker: what it cannot read in the study's folder.
        study: The study's name as it was given.
        studies: Folder of the studies.
    """

    workers: int
    address: Address
    chief: tuple[str, ...]
    worker: tuple[str, ...]
    study: str
    studies: Path


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program.

    Args:
        argv: Arguments without the program's name; those of the process by default.

    Returns:
        The chief's exit code; 2 for bad input and when all workers have died, 130 when interrupted.
    """
    codes: list[int] = []
    given = list(sys.argv[1:] if argv is None else argv)
    return run_program(PROGRAM, lambda: codes.append(launch(plan(given), _SEARCH))) or codes[0]


def plan(argv: Sequence[str]) -> Plan:
    """Read the command line; what it does not know is the chief's to check.

    Raises:
        UserError: A number out of range, no name, or a flag that is set here.
    """
    known, rest = _parser().parse_known_args(argv)
    if known.mode != "tune":
        raise UserError(f"--mode: {PROGRAM} starts searches only; leave it out, got {known.mode!r}")
    if own := next((name for name in _OWN if getattr(known, name) is not None), None):
        raise UserError(f"--{own} is set by {PROGRAM}; leave it out")
    if (known.name is None) == (known.resume is None):
        raise UserError("--name NAME of a new study or --resume STUDY is needed, one of them; workers find it by that")
    workers = _whole(known.workers, 1, MOST_WORKERS, "--workers")
    port = _free_port() if known.port is None else _whole(known.port, 1, LAST_PORT, "--port")
    study, studies = _placed(known.name or known.resume, Path(known.study_dir or STUDIES))
    data = tuple(word for path in known.data or () for word in ("--data", path))
    own = ("--study-dir", known.study_dir) if known.study_dir else ()
    start = ("--name", known.name) if known.name else ("--resume", known.resume)
    return Plan(
        workers=workers,
        address=Address("127.0.0.1", port),
        chief=(*start, *own, *data, *rest),
        worker=("--study-dir", str(studies), *data),
        study=study,
        studies=studies,
    )


def _placed(study: str, studies: Path) -> tuple[str, Path]:
    """Name and place of a study that may be given as a path."""
    path = Path(study).resolve()
    return (path.name, path.parent) if _is_study(path) else (study, studies)


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog=f"python -m {MODULE}",
        usage=f"python -m {MODULE} --workers N --name NAME [flags of {COMMAND[-1]} --mode tune]",
        description="Start a search's chief and several workers on this machine.",
        epilog=f"{CALL} --mode tune --help shows all flags of a search; they are handed to the chief.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--workers", metavar="N", required=True, help="processes that train trials; they share the cores"
    )
    parser.add_argument("--port", metavar="N", help="where the chief listens, on 127.0.0.1 (default: a free one)")
    parser.add_argument("--name", metavar="NAME", help="name of the study")
    parser.add_argument("--resume", metavar="STUDY", help="go on with a study")
    parser.add_argument("--study-dir", metavar="DIR", help="where studies are (default: logs/tuning/)")
    parser.add_argument("--data", metavar="PATH", action="append", help="the faces")
    parser.add_argument("--mode", default="tune", help=argparse.SUPPRESS)
    for name in _OWN:
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    return parser


def _whole(text: str, low: int, high: int, where: str) -> int:
    if not (text.isdecimal() and low <= int(text) <= high):
        raise UserError(f"{where}: expected a whole number from {low} to {high}, got {text!r}")
    return int(text)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def launch(wanted: Plan, search: Sequence[str]) -> int:
    """Start the processes, show their lines, and end when the chief does.

    Args:
        wanted: What to start.
        search: The search's command, without flags.

    Returns:
        The chief's exit code.

    Raises:
        UserError: All workers have died.
    """
    processes: list[_Process] = []  # the chief is the first
    with _terminated_as_interrupted():
        try:
            return _run(wanted, search, processes)
        except KeyboardInterrupt:
            _show(PROGRAM, "interrupted; chief and workers are interrupted too, and end when they have saved")
            _end(processes)
            return (processes[0].code if processes else None) or _INTERRUPTED
        finally:
            _end(processes)


def _run(wanted: Plan, search: Sequence[str], processes: list["_Process"]) -> int:
    """Start everything, adding it to `processes`, and wait for the chief; its exit code."""
    common = [*search, "--mode", "tune", "--oracle", str(wanted.address), "--distributed"]
    chief = _Process("chief", [*common, "chief", *wanted.chief], {})
    processes.append(chief)
    if _listening(chief, wanted.address):
        cores = str(max(1, _cores() // wanted.workers))
        counts = f"starting {wanted.workers} workers, cores for each: {cores}"
        _show(PROGRAM, f"the chief listens at {wanted.address}; {counts}")
        command = [*common, "worker", "--name", _made(wanted), *wanted.worker]
        limits = dict.fromkeys(CORE_LIMITS, cores)
        processes += [_Process(f"worker {n}", command, limits) for n in range(1, wanted.workers + 1)]
        _watch(chief, processes[1:], wanted.study)
    return chief.code


def _made(wanted: Plan) -> str:
    """The study's name on the disk, to which the chief adds where the faces are drawn by a program; the newest."""
    names = (wanted.study, f"synthetic-{wanted.study}")
    made = {name: (wanted.studies / name / STUDY).stat().st_mtime for name in names if _is_study(wanted.studies / name)}
    return max(made, key=made.get, default=wanted.study)


def _is_study(folder: Path) -> bool:
    return (folder / STUDY).is_file()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Process:
    """A program in a process group of its own, so that a Ctrl-C reaches it once; its lines go to our streams."""

    def __init__(self, who: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.who = who
        self._popen = subprocess.Popen(
            list(command),
            env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            process_group=0,
        )
        pipes = ((self._popen.stdout, sys.stdout), (self._popen.stderr, sys.stderr))
        self._readers = [threading.Thread(target=self._show_all, args=pipe, daemon=True) for pipe in pipes]
        for reader in self._readers:
            reader.start()

    def _show_all(self, pipe: TextIO, stream: TextIO) -> None:
        with pipe:
            for line in pipe:
                _show(self.who, line.rstrip("\n"), stream)

    @property
    def code(self) -> int | None:
        """Exit code as a shell counts it, or None while it runs."""
        code = self._popen.poll()
        return 128 - code if code is not None and code < 0 else code

    def signal(self, number: int | None) -> None:
        """Send a signal, to its own children too; None sends nothing."""
        if number is not None and self.code is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._popen.pid, number)

    def join(self, seconds: float) -> bool:
        """Wait for it to end; whether it has."""
        try:
            self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        for reader in self._readers:
            reader.join(1)
        return True


def _show(who: str, line: str, stream: TextIO | None = None) -> None:
    with _printing:
        print(f"[{who}] {line}", file=stream or sys.stdout, flush=True)


def _listening(chief: _Process, address: Address) -> bool:
    """Wait until the chief can be reached, by when the study is on the disk; whether it has got so far."""
    while chief.code is None:
        with contextlib.suppress(OSError), socket.create_connection((address.host, address.port), timeout=_POLL):
            return True
        time.sleep(_POLL)
    return False


def _watch(chief: _Process, workers: Sequence[_Process], study: str) -> None:
    """Wait for the chief; report which workers have died meanwhile.

    Raises:
        UserError: None is left, and the chief would wait for ever.
    """
    waiting, running = list(workers), True
    while running:
        running = chief.code is None  # before the workers: a death just before the chief's end is reported
        for worker in [worker for worker in waiting if worker.code is not None]:
            waiting.remove(worker)
            if worker.code:
                rest = "; the others go on" if running else ""
                _show(PROGRAM, f"{worker.who} has ended with code {worker.code}{rest}")
        if running and not waiting and all(worker.code for worker in workers):
            raise UserError(
                f"all workers have died and the chief waits in vain; their messages are above; "
                f"mend that, then go on with --resume {study}"
            )
        if running:
            time.sleep(_POLL)


def _end(processes: Sequence[_Process]) -> None:
    """Let workers whose chief has ended end, interrupt the others, kill what is left; a second Ctrl-C kills at once."""
    grace = _GRACE if processes and processes[0].code is not None else 0.0
    try:
        for number, seconds in ((None, grace), (signal.SIGINT, _SAVING), (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
            for process in processes:
                process.signal(number)
            end = time.monotonic() + seconds
            if all(process.join(max(end - time.monotonic(), 0)) for process in processes):
                return
    except KeyboardInterrupt:
        for process in processes:
            process.signal(signal.SIGKILL)


@contextlib.contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Treat SIGTERM and a closed terminal like Ctrl-C, so that no process is left behind."""
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, signal.default_int_handler) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main())
