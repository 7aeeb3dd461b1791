"""A search on several machines: the chief's server around an oracle of KerasTuner, and the oracle as a worker uses it.

KerasTuner's own messages are used (gRPC service `keras_tuner.Oracle`). What it lacks travels as metadata beside them:
which worker calls, and of which study. Workers send a pulse all the time; a trial whose worker has been silent for
a lease is given to another. Nothing is encrypted and no worker identifies itself, so the network must be your own.
"""

import contextlib
import functools
import json
import logging
import math
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import grpc
from keras_tuner import HyperParameters, Oracle
from keras_tuner.src import protos
from keras_tuner.src.distribute.oracle_chief import OracleServicer
from keras_tuner.src.distribute.oracle_client import OracleClient
from keras_tuner.src.engine.metrics_tracking import MetricsTracker
from keras_tuner.src.engine.oracle import LOCKS, THREADS
from keras_tuner.src.engine.trial import Trial, TrialStatus
from keras_tuner.src.errors import FatalError

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.tuning.distributed.address import Address

LEASE = 60.0  # seconds
PATIENCE = 600.0  # seconds that a worker waits for a chief that has gone

_BEATS = 6  # pulses in a lease
_PAUSE = 1.0  # seconds before a worker calls again
_ATTEMPT = 60.0  # seconds for one try of a call

_WORKER, _PULSE, _STUDY, _LEASE = "tuner-id", "pulse", "study-bin", "lease"
_ALIVE, _LEAVING = "alive", "leaving"
_PASSING = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)

_SERVER_OPTIONS = (
    ("grpc.so_reuseport", 0),  # with it two chiefs share a port without a word
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
)
_CLIENT_OPTIONS = (
    ("grpc.enable_http_proxy", 0),  # a proxy for the internet knows nothing of a cluster's hosts
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.keepalive_time_ms", 20_000),  # notices a chief whose host lost its power
)

log = logging.getLogger("fer_hierarchy")


class ChiefLostError(UserError, FatalError):
    """The chief is gone or refuses; KerasTuner lets a FatalError end the search, other errors only the trial."""


def new_worker_id() -> str:
    """A name that no other worker has, fit for a file; without 'chief' in it, by which KerasTuner knows one."""
    host = re.sub(r"(?i)chief", "head", socket.gethostname().partition(".")[0])
    host = re.sub(r"[^A-Za-z0-9-]+", "-", host)[:40]
    return f"worker-{host}-{os.getpid()}-{secrets.token_hex(2)}"


def serve(
    oracle: Oracle,
    address: Address,
    *,
    lease: float = LEASE,
    idle: Callable[[], None] | None = None,
    until: float = math.inf,
    stop: threading.Event | None = None,
    study: str = "",
) -> None:
    """Hand out an oracle's trials to workers until the search is over, and inform the workers.

    Args:
        oracle: With its project folder set; reloaded, and not saved since, where an earlier chief is followed: whatever
            was running then is left to its worker for another lease.
        address: Where to listen; host 0.0.0.0 is every network of this machine.
        lease: Seconds of silence after which a worker's trial is given to another.
        idle: Called about once a second while nobody changes the oracle.
        until: As `time.monotonic()` counts; from then on no trial is started, running ones are awaited.
        stop: Ends it at once when set; running trials are left to the next chief.
        study: What workers must name as well, so that none joins the wrong search.

    Raises:
        UserError: The address cannot be had.
    """
    oracle.verbose = 0  # KerasTuner's table of a trial fails for trials that were started under an earlier chief
    _reclaim(oracle)
    mend(oracle)
    chief = _Chief(oracle, lease=lease, until=until, study=study)
    server, stop = _started(chief, address), stop or threading.Event()
    try:
        _tend(chief, stop, idle)
        _dismiss(chief, stop)
    finally:
        server.stop(grace=1).wait()
        oracle.save()


def mend(oracle: Oracle) -> None:
    """Put right what a process killed between two of KerasTuner's writes left behind; for any reloaded oracle.

    A trial that was written but not started reached nobody and is dropped. One that has ended is not done again. What
    is done again starts without the scores of its first time, which KerasTuner would keep instead of the new ones.
    """
    for trial_id in oracle.trials.keys() - set(oracle.start_order):
        del oracle.trials[trial_id]
    oracle._retry_queue = [i for i in dict.fromkeys(oracle._retry_queue) if i not in oracle.end_order]
    for trial_id in oracle._retry_queue:
        oracle.trials[trial_id].metrics = MetricsTracker()
    oracle.ongoing_trials = {w: t for w, t in oracle.ongoing_trials.items() if t.trial_id not in oracle.end_order}


def _reclaim(oracle: Oracle) -> None:
    """Give trials that KerasTuner's `reload` took from their workers back to them."""
    path = Path(oracle._get_oracle_fname())
    ongoing = json.loads(path.read_text(encoding="utf-8"))["ongoing_trials"] if path.is_file() else {}
    for worker, trial_id in ongoing.items():
        if trial_id in oracle._retry_queue:
            oracle._retry_queue.remove(trial_id)
            oracle.ongoing_trials[worker] = oracle.trials[trial_id]


class _Chief(OracleServicer):
    """KerasTuner's service with leases.

    Attributes:
        closing: No trial is started any more.
    """

    def __init__(self, oracle: Oracle, *, lease: float, until: float, study: str) -> None:
        super().__init__(oracle)
        self.lease = lease
        self.until = until
        self.study = study
        self.closing = False
        self._seen = dict.fromkeys(oracle.ongoing_trials, time.monotonic())  # worker -> its last pulse
        self._informed: set[str] = set()  # workers that know that the search is over
        self._guard = threading.RLock()

    def _reply(self, method: Callable[..., Any], request: Any, context: grpc.ServicerContext) -> Any:
        received = _metadata(context.invocation_metadata())
        worker, pulse = received.get(_WORKER, ""), received.get(_PULSE)
        context.set_trailing_metadata(((_LEASE, f"{self.lease:g}"), (_STUDY, self.study.encode())))
        try:
            if pulse == _LEAVING:
                self._forget(worker, "has left")
            elif worker and worker not in self._informed:
                self._seen[worker] = time.monotonic()
            if pulse:
                return protos.get_service().GetSpaceResponse()
            with self.alone():
                return method(request, context)
        except Exception as error:
            log.exception("a call of %s failed", worker or "an unknown worker")
            reason = f"{type(error).__name__}: {error}".partition("\n")[0][:300]
        return context.abort(grpc.StatusCode.INTERNAL, reason)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep all other threads from the oracle; free KerasTuner's own lock, which an exception would leave locked."""
        with self._guard:
            try:
                yield
            except BaseException:
                _unlock(self.oracle)
                raise

    def _create(self, request: Any, context: grpc.ServicerContext) -> Any:
        worker, status = request.tuner_id, protos.get_proto().TrialStatus
        again = worker in self.oracle.ongoing_trials
        if self._closed() and not again:
            reply = protos.get_service().CreateTrialResponse(trial=_stopped_trial().to_proto())
        else:
            reply = super().CreateTrial(request, context)
            if reply.trial.status == status.STOPPED and self.oracle.ongoing_trials:
                # Those trials may yet be lost, and then somebody must be there to do them.
                reply.trial.status = status.IDLE
                self.stop_triggered = False
        if reply.trial.status == status.STOPPED:
            self._informed.add(worker)
            self._seen.pop(worker, None)
        elif reply.trial.status == status.RUNNING and not again:
            log.info("trial %d goes to %s", _number(reply.trial.trial_id), worker)
        return reply

    def _update(self, request: Any, context: grpc.ServicerContext) -> Any:
        if self._holds(context, request.trial_id):
            return super().UpdateTrial(request, context)
        return protos.get_service().UpdateTrialResponse(trial=_stopped_trial(request.trial_id).to_proto())

    def _end(self, request: Any, context: grpc.ServicerContext) -> Any:
        trial_id = request.trial.trial_id
        if not self._holds(context, trial_id):
            return protos.get_service().EndTrialResponse()
        reply = super().EndTrial(request, context)
        if trial_id in self.oracle._retry_queue:
            self._clean(trial_id)
        self.oracle.save()  # KerasTuner saves while the trial still counts as running
        log.info("trial %d: %s", _number(trial_id), self.oracle.trials[trial_id].status.lower())
        return reply

    def _holds(self, context: grpc.ServicerContext, trial_id: str) -> bool:
        worker = _metadata(context.invocation_metadata()).get(_WORKER, "")
        trial = self.oracle.ongoing_trials.get(worker)
        if trial is None or trial.trial_id != trial_id:
            who, number = worker or "a stranger", _number(trial_id)
            log.warning("%s reports on trial %d, which is no longer its own; ignored", who, number)
            return False
        return True

    def _forget(self, worker: str, why: str) -> None:
        """Take a worker off the list, and its trial from it."""
        with self.alone():
            self._seen.pop(worker, None)
            self.oracle.tuner_ids.discard(worker)
            trial = self.oracle.ongoing_trials.get(worker)
            if trial is None:
                return
            log.warning("%s %s; its trial %d is done again", worker, why, _number(trial.trial_id))
            del self.oracle.ongoing_trials[worker]
            self.oracle._retry_queue.append(trial.trial_id)
            self._clean(trial.trial_id)
            self.oracle.save()

    def _clean(self, trial_id: str) -> None:
        """Drop the scores of a trial that is done again; KerasTuner would keep them instead of the new ones."""
        trial = self.oracle.trials[trial_id]
        trial.metrics = MetricsTracker()
        self.oracle._save_trial(trial)

    def expire(self) -> None:
        """Forget the workers whose lease is over."""
        with self.alone():
            for worker, seen in list(self._seen.items()):
                if time.monotonic() - seen > self.lease:
                    self._forget(worker, f"has been silent for {self.lease:g} s")

    def renew(self) -> None:
        """Give every worker a fresh lease."""
        with self.alone():
            self._seen = dict.fromkeys(self._seen, time.monotonic())

    def finished(self) -> bool:
        """Whether nothing runs and nothing is to be started."""
        with self.alone():
            oracle = self.oracle
            full = oracle.max_trials and len(oracle.trials) >= oracle.max_trials and not oracle._retry_queue
            return not oracle.ongoing_trials and bool(self._closed() or self.stop_triggered or full)

    def awaited(self) -> bool:
        """Whether a living worker does not know yet that the search is over."""
        return bool(self._seen)

    def _closed(self) -> bool:
        return self.closing or time.monotonic() >= self.until


def _guarded(method: Callable[..., Any]) -> Callable[..., Any]:
    def call(self: _Chief, request: Any, context: grpc.ServicerContext) -> Any:
        return self._reply(functools.partial(method, self), request, context)

    return call


for _name in ("GetSpace", "UpdateSpace", "GetTrial", "GetBestTrials"):
    setattr(_Chief, _name, _guarded(getattr(OracleServicer, _name)))
for _name, _method in {"CreateTrial": _Chief._create, "UpdateTrial": _Chief._update, "EndTrial": _Chief._end}.items():
    setattr(_Chief, _name, _guarded(_method))


def _tend(chief: _Chief, stop: threading.Event, idle: Callable[[], None] | None) -> None:
    """Watch over the leases until the search is over."""
    pause = min(_PAUSE, chief.lease / 10)
    while not (stop.is_set() or chief.finished()):
        before = time.monotonic()
        stop.wait(pause)
        if time.monotonic() - before > chief.lease / 2:  # the chief itself was halted and could hear nobody
            chief.renew()
        chief.expire()
        if idle is not None:
            with chief.alone():
                idle()


def _dismiss(chief: _Chief, stop: threading.Event) -> None:
    """Wait until every living worker has been informed that there are no more trials, a lease at most."""
    chief.closing = True
    end = time.monotonic() + chief.lease
    while chief.awaited() and time.monotonic() < end and not stop.wait(min(_PAUSE, chief.lease / 10)):
        chief.expire()


def _started(chief: _Chief, address: Address) -> grpc.Server:
    try:  # gRPC's own error has no reason
        family, *_, place = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
        socket.create_server(place[:2], family=family).close()
        server = grpc.server(ThreadPoolExecutor(max_workers=64, thread_name_prefix="chief"), options=_SERVER_OPTIONS)
        protos.get_service_grpc().add_OracleServicer_to_server(chief, server)
        server.add_insecure_port(str(address))
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"--oracle {address}: a chief cannot listen there ({error}); choose another port, and as host 127.0.0.1 "
            "for workers on this machine or 0.0.0.0 for workers anywhere"
        ) from error
    server.start()
    return server


def _stopped_trial(trial_id: str = "") -> Trial:
    return Trial(HyperParameters(), trial_id=trial_id, status=TrialStatus.STOPPED)


def _number(trial_id: str) -> int:
    """A trial as people count: from 1."""
    return int(trial_id) + 1


def _unlock(oracle: Oracle) -> None:
    """Free KerasTuner's lock if this thread holds it."""
    if THREADS[oracle] == threading.current_thread().name:
        THREADS[oracle] = None
        LOCKS[oracle].release()


def _metadata(pairs: Any) -> Mapping[str, Any]:
    return {pair[0]: pair[1] for pair in pairs or ()}


class RemoteOracle(OracleClient):
    """The chief's oracle as a worker uses it: calls it, waits for it when it is away, and sends pulses.

    Args:
        oracle: One of the same settings as the chief's; used where no call is needed.
        channel: To the chief.
        address: The chief's.
        tuner_id: The worker's name.
    """

    # KerasTuner's own constructor is passed over: it reads the address from environment variables, by which every tuner
    # of the process would take itself for a worker.
    def __init__(self, oracle: Oracle, channel: grpc.Channel, address: Address, *, tuner_id: str) -> None:
        self._oracle = oracle
        self._channel = channel
        self._plain = protos.get_service_grpc().OracleStub(channel)
        self._address = address
        self._closed = threading.Event()
        self._beating: threading.Thread | None = None
        self.stub = _Calls(self._plain, address, tuner_id)
        self.tuner_id = tuner_id
        self.lease = LEASE
        self.multi_worker = False
        self.should_report = True

    @classmethod
    def connect(cls, oracle: Oracle, address: Address, *, tuner_id: str, wait: float, study: str = "") -> Self:
        """Find the chief.

        Args:
            oracle: One of the same settings as the chief's.
            address: The chief's.
            tuner_id: The worker's name, see `new_worker_id`.
            wait: Most seconds until it replies.
            study: What the chief must name as well.

        Raises:
            UserError: No chief replies in time, or that of another study.
        """
        channel = grpc.insecure_channel(str(address), options=_CLIENT_OPTIONS)
        remote = cls(oracle, channel, address, tuner_id=tuner_id)
        try:
            grpc.channel_ready_future(channel).result(timeout=wait)
            remote._greet(study)
        except grpc.FutureTimeoutError as error:
            channel.close()
            raise UserError(
                f"no chief replies at {address} after {wait:g} s; "
                f"start it with --distributed chief --oracle {address}, or check host, port and firewall"
            ) from error
        except BaseException:
            channel.close()
            raise
        return remote

    def _greet(self, study: str) -> None:
        try:
            received = self._pulse(_ALIVE, timeout=_ATTEMPT)
        except grpc.RpcError as error:
            raise UserError(
                f"the server at {self._address} is not the chief of a search ({error.details()})"
            ) from error
        theirs = received[_STUDY].decode()
        if study and theirs and study != theirs:
            raise UserError(f"the chief at {self._address} serves another study, {theirs!r}, not {study!r}")
        self.lease = float(received[_LEASE])

    def _pulse(self, word: str, *, timeout: float) -> Mapping[str, Any]:
        """Inform the chief that this worker lives, or leaves; returns the metadata of its reply."""
        sent = ((_WORKER, self.tuner_id), (_PULSE, word))
        _, call = self._plain.GetSpace.with_call(protos.get_service().GetSpaceRequest(), metadata=sent, timeout=timeout)
        return _metadata(call.trailing_metadata())

    def start(self) -> None:
        """Start to send pulses."""
        self._beating = threading.Thread(target=self._beat, name=f"{self.tuner_id} beats", daemon=True)
        self._beating.start()

    def _beat(self) -> None:
        every = self.lease / _BEATS
        while not self._closed.wait(every):
            with contextlib.suppress(grpc.RpcError):  # a chief that is away is the matter of the calls that need it
                self._pulse(_ALIVE, timeout=max(every, 1.0))

    def close(self) -> None:
        """Take leave of the chief, which gives a trial that is not ended to another at once."""
        if self._closed.is_set():
            return
        self._closed.set()
        if self._beating is not None:
            self._beating.join(timeout=self.lease / _BEATS + 1)
        with contextlib.suppress(grpc.RpcError):
            self._pulse(_LEAVING, timeout=2)
        self._channel.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def create_trial(self, tuner_id: str) -> Trial:  # noqa: ARG002 - the chief knows the worker by one name only
        """Get a trial; where there is none yet, some time passes first."""
        trial = super().create_trial(self.tuner_id)
        if trial.status == TrialStatus.IDLE:
            self._closed.wait(_PAUSE)
        return trial

    def update_trial(self, trial_id: str, metrics: Mapping[str, float], step: int = 0) -> Trial:
        """Report scores; the status is STOPPED where the trial has meanwhile gone to another worker."""
        trial = super().update_trial(trial_id, metrics, step=step)
        if trial.status == TrialStatus.STOPPED:
            number = _number(trial_id)
            log.warning("trial %d was given to another worker meanwhile; what it scored here does not count", number)
        return trial

    def save(self) -> None:
        """Nothing: the chief saves."""

    def reload(self) -> None:
        """Nothing: the chief reloads."""


class _Calls:
    """The chief's calls by name, each signed by the worker and repeated while the chief is away."""

    def __init__(self, stub: Any, address: Address, tuner_id: str) -> None:
        self._stub = stub
        self._address = address
        self._signature = (_WORKER, tuner_id)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return functools.partial(self._call, getattr(self._stub, name))

    def _call(self, method: Callable[..., Any], request: Any, **_limits: Any) -> Any:
        """One call; KerasTuner's own time limit of an hour is dropped."""
        end, complained = time.monotonic() + PATIENCE, False
        while True:
            try:
                return method(request, metadata=(self._signature,), timeout=_ATTEMPT)
            except grpc.RpcError as error:
                self._check(error, end)
            if not complained:
                log.warning("the chief at %s does not reply; trying again for %g min", self._address, PATIENCE / 60)
            complained = True
            time.sleep(_PAUSE)

    def _check(self, error: grpc.RpcError, end: float) -> None:
        """Raise unless the call may be repeated."""
        if error.code() not in _PASSING:
            details = f"{error.details()}; its run.log has more"
            raise ChiefLostError(f"the chief at {self._address} could not reply: {details}") from error
        if time.monotonic() >= end:
            minutes = f"{PATIENCE / 60:g} min"
            raise ChiefLostError(
                f"the chief at {self._address} has not replied for {minutes}; start it again and then this worker"
            ) from error
