"""A chief and its workers over loopback: trials are shared, none is lost with its worker or its chief."""

import os
import socket
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import keras_tuner
import pytest
from keras_tuner.oracles import RandomSearchOracle

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.tuning.distributed import oracle_server
from fer_hierarchy.tuning.distributed.address import Address
from fer_hierarchy.tuning.distributed.oracle_server import RemoteOracle, mend, new_worker_id, serve

LEASE = 0.5  # seconds; long beside the tests' trials, short beside their patience
SOON = 15.0


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(oracle_server, "_PAUSE", 0.05)


@pytest.fixture
def address():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return Address("127.0.0.1", server.getsockname()[1])


def make_oracle(folder, *, trials=4, kind=RandomSearchOracle, reload=False, **settings):
    space = keras_tuner.HyperParameters()
    space.Float("rate", 0.0, 1.0)
    goal = keras_tuner.Objective("score", "max")
    oracle = kind(objective=goal, max_trials=trials, hyperparameters=space, seed=1, **settings)
    oracle.verbose = 0
    oracle._set_project_dir(str(folder), "oracle")
    if reload:
        oracle.reload()
    return oracle


class Chief:
    """`serve` in a thread."""

    def __init__(self, oracle, address, **settings):
        self.oracle = oracle
        self.stop = threading.Event()
        self.error = None
        given = {"lease": LEASE, "stop": self.stop, **settings}
        self._thread = threading.Thread(target=self._serve, args=(address, given), daemon=True)
        self._thread.start()

    def _serve(self, address, given):
        try:
            serve(self.oracle, address, **given)
        except UserError as error:
            self.error = error

    def join(self):
        self._thread.join(SOON)
        assert not self._thread.is_alive(), "the chief goes on"


@contextmanager
def chief_at(oracle, address, **settings):
    chief = Chief(oracle, address, **settings)
    try:
        yield chief
    finally:
        chief.stop.set()
        chief.join()


def join(folder, address, name, **settings):
    return RemoteOracle.connect(make_oracle(folder), address, tuner_id=name, wait=SOON, **settings)


def score(remote, trial):
    """Report a trial as a tuner does."""
    remote.update_trial(trial.trial_id, {"score": trial.hyperparameters.get("rate")})
    trial.status = "COMPLETED"
    remote.end_trial(trial)


def work(remote, *, seconds=0.05):
    """A worker's loop; gives the trials that it did."""
    done = []
    with remote:
        while (trial := remote.create_trial(remote.tuner_id)).status != "STOPPED":
            if trial.status == "RUNNING":
                time.sleep(seconds)
                score(remote, trial)
                done.append(trial.trial_id)
    return done


def in_background(remote, **settings):
    done = []
    thread = threading.Thread(target=lambda: done.extend(work(remote, **settings)), daemon=True)
    thread.start()
    return thread, done


def completed(oracle):
    return [trial_id for trial_id, trial in sorted(oracle.trials.items()) if trial.status == "COMPLETED"]


def wait_for(condition):
    end = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def test_two_workers_share_the_trials(tmp_path, address):
    chief = Chief(make_oracle(tmp_path, trials=6), address)
    workers = [in_background(join(tmp_path, address, name)) for name in ("one", "two")]
    for thread, _ in workers:
        thread.join(SOON)
    chief.join()
    first, second = (done for _, done in workers)
    assert first
    assert second
    assert sorted(first + second) == completed(chief.oracle) == [str(number) for number in range(6)]
    assert all(trial.score == trial.hyperparameters.get("rate") for trial in chief.oracle.trials.values())


def test_a_tuner_of_kerastuner_works_as_a_worker(tmp_path, address):
    class Tuner(keras_tuner.engine.base_tuner.BaseTuner):
        def run_trial(self, trial):
            if trial.trial_id == "1":
                raise keras_tuner.errors.FailedTrialError("too large")
            return {"score": trial.hyperparameters.get("rate")}

        def save(self):
            pass

    chief = Chief(make_oracle(tmp_path), address)
    tuner = Tuner(make_oracle(tmp_path), directory=str(tmp_path), project_name="oracle")
    with join(tmp_path, address, "one") as tuner.oracle:
        tuner.search()
    chief.join()
    assert completed(chief.oracle) == ["0", "2", "3"]
    assert chief.oracle.trials["1"].status == "FAILED"


def test_workers_leave_no_trace_in_the_environment(tmp_path, address):
    with chief_at(make_oracle(tmp_path), address):
        join(tmp_path, address, "one").close()
        assert not [name for name in os.environ if name.startswith("KERASTUNER")]


def test_a_silent_worker_loses_its_trial_to_another(tmp_path, address, caplog):
    chief = Chief(make_oracle(tmp_path), address)
    silent = join(tmp_path, address, "silent")
    lost = silent.create_trial("silent")
    done = work(join(tmp_path, address, "living"))
    chief.join()
    assert lost.trial_id in done
    assert completed(chief.oracle) == ["0", "1", "2", "3"]
    assert f"silent has been silent for {LEASE:g} s; its trial {int(lost.trial_id) + 1} is done again" in caplog.text


def test_what_a_silent_worker_reports_later_changes_nothing(tmp_path, address):
    with chief_at(make_oracle(tmp_path, trials=1), address) as chief:
        silent = join(tmp_path, address, "silent")
        lost = silent.create_trial("silent")
        silent.update_trial(lost.trial_id, {"score": 5.0})
        wait_for(lambda: not chief.oracle.ongoing_trials)
        living = join(tmp_path, address, "living")
        with living:
            trial = living.create_trial("living")
            assert trial.trial_id == lost.trial_id
            assert silent.update_trial(lost.trial_id, {"score": 7.0}).status == "STOPPED"
            lost.status = "COMPLETED"
            silent.end_trial(lost)
            assert chief.oracle.trials["0"].status == "RUNNING"
            score(living, trial)
        assert chief.oracle.trials["0"].score == trial.hyperparameters.get("rate") < 1


def test_a_busy_worker_keeps_its_trial(tmp_path, address):
    chief = Chief(make_oracle(tmp_path, trials=1), address)
    assert work(join(tmp_path, address, "slow"), seconds=1.8 * LEASE) == ["0"]
    chief.join()


def test_a_worker_that_leaves_gives_its_trial_back_at_once(tmp_path, address):
    with chief_at(make_oracle(tmp_path, trials=1), address, lease=600) as chief:
        with join(tmp_path, address, "one") as one:
            one.create_trial("one")
        assert not chief.oracle.ongoing_trials
        assert work(join(tmp_path, address, "two")) == ["0"]


def test_a_worker_waits_while_the_last_trial_may_still_be_lost(tmp_path, address):
    with chief_at(make_oracle(tmp_path, trials=1), address, lease=600), join(tmp_path, address, "two") as two:
        one = join(tmp_path, address, "one")
        one.create_trial("one")
        assert two.create_trial("two").status == "IDLE"
        one.close()
        assert two.create_trial("two").status == "RUNNING"


def test_waiting_for_a_trial_is_no_busy_loop(tmp_path, address, monkeypatch):
    with chief_at(make_oracle(tmp_path, trials=1), address, lease=600), join(tmp_path, address, "two") as two:
        join(tmp_path, address, "one").create_trial("one")
        pauses = []
        monkeypatch.setattr(two, "_closed", SimpleNamespace(wait=pauses.append, is_set=lambda: True))
        assert [two.create_trial("two").status for _ in range(2)] == ["IDLE", "IDLE"]
        assert pauses == [oracle_server._PAUSE] * 2


def test_a_chief_that_was_stopped_goes_on_and_its_worker_with_it(tmp_path, address):
    first = Chief(make_oracle(tmp_path), address)
    with join(tmp_path, address, "one") as one:
        trial = one.create_trial("one")
        first.stop.set()
        first.join()
        ending = threading.Thread(target=score, args=(one, trial), daemon=True)
        ending.start()  # waits for the chief
        second = Chief(make_oracle(tmp_path, reload=True), address)
        ending.join(SOON)
        wait_for(lambda: completed(second.oracle) == [trial.trial_id])
        thread, done = in_background(one)
        thread.join(SOON)
    second.join()
    assert done == ["1", "2", "3"]
    assert completed(second.oracle) == ["0", "1", "2", "3"]


def test_trials_of_workers_that_died_with_their_chief_are_done_again(tmp_path, address):
    first = Chief(make_oracle(tmp_path), address)
    join(tmp_path, address, "gone").create_trial("gone")
    first.stop.set()
    first.join()
    second = Chief(make_oracle(tmp_path, reload=True), address)
    assert sorted(work(join(tmp_path, address, "new"))) == ["0", "1", "2", "3"]
    second.join()


def test_a_finished_search_ends_without_workers(tmp_path, address):
    chief = Chief(make_oracle(tmp_path), address)
    work(join(tmp_path, address, "one"))
    chief.join()
    Chief(make_oracle(tmp_path, reload=True), address).join()


def test_the_chief_waits_for_nobody_who_knows_that_it_is_over(tmp_path, address):
    chief = Chief(make_oracle(tmp_path, trials=1), address, lease=600)
    one, two = (join(tmp_path, address, name) for name in ("one", "two"))
    score(one, one.create_trial("one"))
    assert two.create_trial("two").status == "STOPPED"
    assert one.create_trial("one").status == "STOPPED"
    chief.join()


def test_no_trial_is_begun_after_the_deadline_but_running_ones_end(tmp_path, address):
    chief = Chief(make_oracle(tmp_path), address, until=time.monotonic() + 0.3)
    assert work(join(tmp_path, address, "one"), seconds=0.4) == ["0"]
    chief.join()
    assert completed(chief.oracle) == ["0"]


def test_idle_is_called_while_the_chief_waits(tmp_path, address):
    calls = threading.Event()
    with chief_at(make_oracle(tmp_path), address, idle=calls.set):
        assert calls.wait(SOON)


def test_an_error_in_the_oracle_is_told_and_blocks_nobody(tmp_path, address, caplog):
    class Moody(RandomSearchOracle):
        moods = iter(("bad",))

        def populate_space(self, trial_id):
            if next(self.moods, None):
                raise ValueError("no mood for trials")
            return super().populate_space(trial_id)

    chief = Chief(make_oracle(tmp_path, kind=Moody), address)
    with join(tmp_path, address, "one") as one, pytest.raises(UserError, match="ValueError: no mood for trials"):
        one.create_trial("one")
    assert "no mood for trials" in caplog.text
    assert len(work(join(tmp_path, address, "two"))) == 4
    chief.join()


def test_without_a_chief_a_worker_says_so_in_time(tmp_path, address):
    with pytest.raises(
        UserError, match=rf"no chief replies at {address} after 0.1 s; start it with --distributed chief"
    ):
        RemoteOracle.connect(make_oracle(tmp_path), address, tuner_id="one", wait=0.1)


def test_a_chief_that_stays_away_is_given_up(tmp_path, address, monkeypatch):
    monkeypatch.setattr(oracle_server, "PATIENCE", 0.1)
    chief = Chief(make_oracle(tmp_path), address)
    one = join(tmp_path, address, "one")
    chief.stop.set()
    chief.join()
    with pytest.raises(UserError, match="has not replied for"):
        one.create_trial("one")


def test_the_end_of_the_chief_ends_the_tuner_and_not_the_trial(tmp_path):
    assert issubclass(oracle_server.ChiefLostError, keras_tuner.errors.FatalError)


def test_a_worker_of_another_study_is_turned_away(tmp_path, address):
    with chief_at(make_oracle(tmp_path), address, study="gate é"):
        join(tmp_path, address, "one", study="gate é").close()
        with pytest.raises(UserError, match="serves another study, 'gate é', not 'positive'"):
            join(tmp_path, address, "two", study="positive")


def test_a_taken_port_is_one_line(tmp_path, address):
    with chief_at(make_oracle(tmp_path / "a"), address):
        join(tmp_path / "a", address, "one").close()
        with pytest.raises(UserError, match=r"a chief cannot listen there .*in use.*; choose another port"):
            serve(make_oracle(tmp_path / "b"), address)


@pytest.mark.parametrize(
    ("host", "words"),
    [("192.0.2.1", "a chief cannot listen there"), ("nowhere.invalid", "cannot listen there .*known")],
)
def test_an_address_of_another_machine_is_one_line(tmp_path, host, words):
    with pytest.raises(UserError, match=words):
        serve(make_oracle(tmp_path), Address(host, 8700))


def test_mending_redoes_no_ended_trial_and_forgets_unbegun_ones(tmp_path):
    oracle = make_oracle(tmp_path)
    trials = [oracle.create_trial(name) for name in ("a", "b", "c")]
    oracle.update_trial("1", {"score": 0.5})
    oracle.end_order.append("0")
    oracle.start_order.remove("2")
    oracle._retry_queue = ["0", "1", "1"]
    oracle.ongoing_trials = {"a": trials[0]}
    mend(oracle)
    assert oracle._retry_queue == ["1"]
    assert not oracle.ongoing_trials
    assert list(oracle.trials) == ["0", "1"]
    assert not oracle.trials["1"].metrics.exists("score")


def test_worker_names_differ_and_are_no_chiefs(monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "Chief/node.1.example.org")
    names = {new_worker_id() for _ in range(20)}
    assert len(names) == 20
    assert all(name.startswith(f"worker-head-node-{os.getpid()}-") for name in names)
    assert not any("chief" in name for name in names)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("127.0.0.1:8700", "127.0.0.1", 8700), ("node-3.cluster:1", "node-3.cluster", 1), ("[::1]:65535", "::1", 65535)],
)
def test_addresses_are_read_and_written(text, host, port):
    address = Address.parse(text, "--oracle")
    assert (address.host, address.port) == (host, port)
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    [
        *("node", "node:", "node:abc", ":8700", "node:0", "node:65536", "http://node:8700", "::1:8700"),
        *("two words:8700", "", "node:8700/path"),
    ],
)
def test_a_bad_address_is_one_line(text):
    with pytest.raises(UserError, match=f"^--oracle: expected HOST:PORT .*got {text!r}$"):
        Address.parse(text, "--oracle")
