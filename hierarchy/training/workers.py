"""Independent trainings at once, each in a process of its own: on this machine, or on a cluster that Ray runs.

Ray is imported only where `--workers` or `--ray` is given. A task is a function of ours and its arguments; what it
makes lies in a folder that all machines see. So a task whose process dies goes on from the folder's last checkpoint.
"""

import io
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TextIO
from urllib.parse import urlsplit

from fer_hierarchy import __version__
from fer_hierarchy.hierarchy.config import Checked, option
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.progress import Progress, progress_reported, progress_shown
from fer_hierarchy.hierarchy.runs.run_folder import collect_notes

if TYPE_CHECKING:
    from ray import ObjectRef

_RETRIES = 3  # of a task whose process died
_PAUSE = 0.5  # seconds between two renewals of the progress
_FAREWELL = 10.0  # seconds in which interrupted tasks end
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")

log = logging.getLogger("fer_hierarchy")


@dataclass(frozen=True, kw_only=True)
class WorkerConfig(Checked):
    """Where independent trainings run; by default one after the other in this process.

    Examples:
        >>> from fer_hierarchy import WorkerConfig
        >>> WorkerConfig().used
        False
    """

    workers: int | None = option(None, "trainings at once, each in a process of its own, by Ray", low=1, high=10_000)
    ray: str | None = option(
        None,
        "Ray cluster that runs them: auto for the one of this machine, HOST:PORT or ray://HOST:PORT",
        metavar="ADDRESS",
    )
    task_cpus: int = option(1, "cores and threads of each training at once", low=1, high=1024)
    task_gpus: float = option(0.0, "GPUs of each training at once", low=0, high=64)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.used and (self.task_cpus != 1 or self.task_gpus):
            raise UserError("--task-cpus and --task-gpus are of trainings at once; add --workers N or --ray ADDRESS")
        if self.used and find_spec("ray") is None:
            raise UserError("--workers and --ray need Ray, which is not installed: pip install 'fer-hierarchy[ray]'")

    @property
    def used(self) -> bool:
        """Whether Ray runs the trainings."""
        return self.workers is not None or self.ray is not None


class WorkerDiedError(UserError):
    """The process of a task has died, again and again."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a worker does.

    Attributes:
        name: What progress calls it.
        work: Its share of the progress, in that one's unit.
        function: A function of a module, which workers import.
        arguments: Of the function; they are sent to the worker.
    """

    name: str
    work: float
    function: Callable[..., Any]
    arguments: tuple[Any, ...]


class Workers:
    """Processes of Ray that do tasks.

    Args:
        config: How many, and where.
    """

    def __init__(self, config: WorkerConfig) -> None:
        import ray

        self._ray: Any = ray
        self._config = config
        self._perform = ray.remote(num_cpus=config.task_cpus, num_gpus=config.task_gpus, max_retries=_RETRIES)(_perform)
        self._board: Any = ray.remote(num_cpus=0, max_restarts=-1)(_Board).remote()

    @property
    def size(self) -> int:
        """Tasks at once: what the user wants, else what the cluster has room for now."""
        resources, config = self._ray.cluster_resources(), self._config
        if config.workers is not None:
            return config.workers
        room = [resources.get("CPU", 0) / config.task_cpus]
        if config.task_gpus:
            room.append(resources.get("GPU", 0) / config.task_gpus)
        return max(1, int(min(room)))

    def results(
        self, next_task: Callable[[], Task | None], progress: Progress, check: Callable[[], None] = lambda: None
    ) -> Iterator[tuple[Task, Any]]:
        """Do tasks at once, and yield each with what became of it.

        Args:
            next_task: Called when there is room for one more; None is none for now. The end is where there is none and
                nothing runs any more.
            progress: Counts the work of the tasks.
            check: Called all the time; what it raises ends the tasks.

        Yields:
            (task, what its function returned, or the `UserError` that it ended with), the first to end first.
        """
        running: dict[ObjectRef, Task] = {}
        counted: dict[str, float] = {}
        try:
            while True:
                while len(running) < self.size and (task := next_task()) is not None:
                    running[self._perform.remote(task, self._board, _versions())] = task
                if not running:
                    return
                ended, _ = self._ray.wait(list(running), timeout=_PAUSE)
                self._renew(progress, [task for ref, task in running.items() if ref not in ended], counted)
                check()
                for ref in ended:
                    task = running.pop(ref)
                    progress.advance(task.work * (1 - counted.pop(task.name, 0.0)), task.name)
                    yield task, self._outcome(ref, task)
        finally:
            for ref in running:
                self._ray.cancel(ref, recursive=False)
            self._ray.wait(list(running), num_returns=len(running), timeout=_FAREWELL) if running else None

    def _renew(self, progress: Progress, tasks: Iterable[Task], counted: dict[str, float]) -> None:
        """Count what the running tasks have done since the last time."""
        try:
            shares = self._ray.get(self._board.read.remote())
        except self._ray.exceptions.RayActorError:  # its node has died; it starts anew on another
            shares = {}
        new, texts = 0.0, []
        for task in tasks:
            share, before = shares.get(task.name, 0.0), counted.get(task.name, 0.0)
            counted[task.name] = max(share, before)
            new += task.work * (counted[task.name] - before)
            texts.append(f"{task.name} {share:.0%}")
        progress.advance(new, ", ".join(texts))

    def _outcome(self, ref: "ObjectRef", task: Task) -> Any:
        errors = self._ray.exceptions
        try:
            outcome = self._ray.get(ref)
        except (errors.WorkerCrashedError, errors.NodeDiedError, errors.OutOfMemoryError) as error:
            kind = " (out of memory)" if isinstance(error, errors.OutOfMemoryError) else ""
            return WorkerDiedError(f"{task.name}: its process died {_RETRIES + 1} times{kind}")
        for note in outcome.notes:
            log.warning("%s", note)
        return outcome.value


@contextmanager
def open_workers(config: WorkerConfig) -> Iterator[Workers | None]:
    """Start or join Ray while the block runs; None where everything runs in this process.

    Raises:
        UserError: There is no cluster at the address, or one of other versions.
    """
    if not config.used:
        yield None
        return
    import ray

    with redirect_stdout(_WithoutRay(sys.stdout)):
        _start(ray, config)
        try:
            yield Workers(config)
        finally:
            with redirect_stdout(io.StringIO()):  # Ray prints what it has held back
                ray.shutdown()


class _WithoutRay(io.TextIOBase):
    """A stream that Ray's own threads cannot write to: they print pages on every process that dies."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        ours = not threading.current_thread().name.startswith("ray_")
        return self._stream.write(text) if ours else len(text)

    def flush(self) -> None:
        self._stream.flush()


def _start(ray: Any, config: WorkerConfig) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a Ray that this process starts reports nothing to anybody
    threads = {name: str(config.task_cpus) for name in _THREADS}
    common = {
        "log_to_driver": False,
        "logging_level": logging.CRITICAL,
        "runtime_env": {"env_vars": threads},
        "namespace": "fer_hierarchy",
    }
    if config.ray is None:
        assert config.workers is not None
        room = {"num_cpus": config.workers * config.task_cpus, "include_dashboard": False}
        ray.init(address="local", **room, **common)
        return
    try:
        _require_listener(config.ray)
        ray.init(address=config.ray, **common)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        why = " ".join(str(error).split())[:300]
        raise UserError(
            f"--ray {config.ray}: no cluster can be joined there ({why}); start one with `ray start --head`, or leave "
            "--ray out and give --workers N"
        ) from error


def _require_listener(address: str) -> None:
    """Find out in seconds that nobody listens at HOST:PORT, which Ray tries for minutes."""
    place = urlsplit(address if "//" in address else f"//{address}")
    if place.hostname and place.port:
        socket.create_connection((place.hostname, place.port), timeout=_FAREWELL).close()


@dataclass(frozen=True)
class _Outcome:
    """What a task returned, or its UserError, and its warnings."""

    value: Any
    notes: tuple[str, ...]


class _Board:
    """Where workers write how far their tasks are."""

    def __init__(self) -> None:
        self._shares: dict[str, float] = {}

    def write(self, name: str, share: float) -> None:
        self._shares[name] = share

    def read(self) -> dict[str, float]:
        return self._shares


def _versions() -> dict[str, str]:
    """What decides on how a training goes."""
    libraries = {name: metadata.version(name) for name in ("tensorflow", "keras", "numpy")}
    return {"fer_hierarchy": __version__, **libraries}


def _perform(task: Task, board: Any, versions: Mapping[str, str]) -> _Outcome:
    """Do a task, in a worker's process."""
    for name, own in _versions().items():
        if own != versions.get(name, own):
            return _Outcome(
                UserError(f"a worker has {name} {own}, this process {versions[name]}; install the same"), ()
            )
    log.setLevel(logging.INFO)  # for the logs in the folders of what is trained
    last = -_PAUSE

    def report(share: float) -> None:
        nonlocal last
        if time.monotonic() - last >= _PAUSE:
            last = time.monotonic()
            board.write.remote(task.name, share)

    with collect_notes() as notes, progress_shown(False), progress_reported(report):
        try:
            value = task.function(*task.arguments)
        except UserError as error:
            value = UserError(str(error))
    return _Outcome(value, tuple(notes))
