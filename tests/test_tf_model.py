import errno
import json
import logging
import re
import subprocess
import sys
import types

import pytest

from fer_hierarchy import hierarchy
from fer_hierarchy.hierarchy import training
from fer_hierarchy.hierarchy.cli import main
from fer_hierarchy.hierarchy.cli.modes import MODES
from fer_hierarchy.hierarchy.cli.program import flags_of
from fer_hierarchy.hierarchy.config import RunConfig, StageConfig, fields_of
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.paths import LOGS, RESULTS
from tests.conftest import CHECKOUT

ROOT = CHECKOUT
HEAVY = ("tensorflow", "keras", "pandas", "numpy", "matplotlib", "sklearn", "cv2")


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """A pipeline that only records what it is asked to do."""
    made = []

    def recorder(name):
        def call(*arguments, **keywords):
            made.append((name, arguments, keywords))
            return tmp_path / "results" / "made"

        return call

    names = ("train_run", "resume_run", "evaluate_run", "audit_data")
    pipeline = types.SimpleNamespace(**{name: recorder(name) for name in names})
    monkeypatch.setitem(sys.modules, "fer_hierarchy.hierarchy.training.pipeline", pipeline)
    monkeypatch.setattr(training, "pipeline", pipeline, raising=False)
    comparing = "fer_hierarchy.hierarchy.experiments.report.compare_runs"
    monkeypatch.setattr(comparing, recorder("compare_runs"))
    monkeypatch.setitem(
        sys.modules, "fer_hierarchy.hierarchy.training.keras_stage", types.SimpleNamespace(KerasStage="KerasStage")
    )
    return made


@pytest.fixture
def results(tmp_path):
    """A results folder with two runs in it."""
    for name in ("first", "second"):
        folder = tmp_path / "results" / name
        folder.mkdir(parents=True)
        record = {**RunConfig().to_dict(), "name": name, "seed": 5}
        (folder / "config.json").write_text(json.dumps(record), encoding="utf-8")
    return tmp_path / "results"


def run(capsys, *words):
    code = main([str(word) for word in words])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def refused(capsys, *words):
    """The one line with which the program refuses `words`."""
    code, out, err = run(capsys, *words)
    assert code == 2
    assert out == ""
    assert err.startswith("tf_model.py: error: ")
    assert err.count("\n") == 1
    return err


def test_help_without_a_mode_lists_modes_and_examples(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0
    for name, mode in MODES.items():
        assert f"  {name}" in out
        assert mode.example in out


@pytest.mark.parametrize("name", MODES)
def test_help_of_a_mode_shows_its_own_flags_only(capsys, name):
    code, out, _ = run(capsys, "--mode", name, "--help")
    assert code == 0
    own = set(flags_of(MODES[name]))
    shown = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]", out))
    assert shown - {"--mode"} <= own
    assert own - {"-h"} <= shown


def test_help_shows_defaults(capsys):
    _, out, _ = run(capsys, "--mode", "hierarchical", "--help")
    words = " ".join(out.split())
    assert "see --mode models (default: compact_resnet)" in words
    assert "faces in a training step (default: 64)" in words
    assert "mirror half of the faces (default: on)" in words
    assert "of the 95 % intervals (default: 1000)" in words


def test_every_setting_of_a_run_is_a_flag():
    config = {name for part in (*_sections(), RunConfig) for name in fields_of(part)} - {"framework"}
    flags = {flag[2:].replace("-", "_") for flag in flags_of(MODES["hierarchical"])}
    assert config <= flags


def _sections():
    return hierarchy.config.SECTIONS.values()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--mode", "audit", "--epochs", "3"],
            "--epochs does not belong to --mode audit; it belongs to hierarchical, flat",
        ),
        (
            ["--mode=compare", "a", "b", "--data=x"],
            "--data does not belong to --mode compare; it belongs to hierarchical",
        ),
        (["--mode", "flat", "--to", "x"], "--to does not belong to --mode flat; it belongs to download"),
        (["--epoch", "3"], "unknown flag --epoch; did you mean --epochs?"),
        (["--blance=none"], "unknown flag --blance; did you mean --balance?"),
        (["-e", "3"], "unknown flag -e"),
        (["--mode", "flatt"], "got 'flatt'; did you mean flat?"),
        (["--mode"], "--mode: expected one argument"),
        (["compare", "a", "b"], "unexpected argument 'compare'; write --mode compare"),
        (["data/fer2013"], "unexpected argument 'data/fer2013'"),
        (["--seed"], "--seed: expected one argument"),
        (["--skip-bad=3"], "--skip-bad: takes no value"),
        (["--seed", "-4"], "--seed: expected at least 0"),
        (["--epochs", "0"], "--epochs: expected at least 1 and at most 100000, got 0"),
        (["--epochs", "anger=2"], "stage 'anger' is not part of this run"),
        (["--mode", "flat", "--epochs", "positive=2"], "its stages are flat"),
        (["--exclude", "boredom"], "--exclude: unknown emotion 'boredom'"),
        (["--exclude", "happy,surprise,neutral"], "group 'positive'"),
        (["--taxonomy", "none.json"], "neither a known name"),
        (["--model", "resnet_compact"], "no model 'resnet_compact'; known: compact_resnet"),
        (["--model", "positive=vgg"], "no model 'vgg'"),
        (["--model", "vgg13:batch_norm"], "'batch_norm' is no setting; write NAME:key=value"),
        (
            ["--weights", "first/flat"],
            "--weights first/flat: no such weights; expected none, imagenet, dlib-face, RUN/STAGE",
        ),
        (["--generated", "/no/such/place"], "--generated: /no/such/place is no folder"),
        (["--emotions", "happy,sorrow"], "--emotions: unknown emotion 'sorrow'"),
        (["--emotions", "happy,neutral"], "leaves group 'negative'"),
        (["--loss", "hinge"], "--loss: expected one of ce, weighted, focal, center, island, balanced-softmax"),
        (["--mixup", "2"], "--mixup: expected at least 0 and at most 1"),
        (["--split-by", "face"], "--split-by: expected one of subject, sample"),
        (["--mode", "models", "--data", "."], "--data does not belong to --mode models"),
        (["--dataset", "fer2031"], "no kind 'fer2031'; known:"),
        (["--dataset", "ck48"], "--dataset ck48 needs --data PATH"),
        (["--dataset", "synthetic", "--data", "."], "leave out --data"),
        (["--data", "/no/such/place"], "--data: /no/such/place does not exist"),
        (["--ferplus", "/no/such.csv"], "--ferplus: /no/such.csv is no file"),
        (["--name", "a/b"], "--name 'a/b'"),
        (["--config", "/no/such.json"], "--config: /no/such.json is no file"),
        (["--resume", "nothing"], "no run 'nothing'"),
        (["--resume", "first", "--config", "x"], "--config does not go with --resume"),
        (["--mode", "compare", "first"], "expected at least 2 runs, got 1"),
        (["--mode", "compare", "first", "nothing"], "no run 'nothing'"),
        (["--mode", "compare", "first", "first"], "named twice"),
        (["--mode", "compare", "first", "second", "--resamples", "3"], "--resamples: expected at least 100"),
        (["--mode", "evaluate"], "expected one run, got 0"),
        (["--mode", "evaluate", "first"], "--data PATH is needed"),
        (["--mode", "evaluate", "first", "--data", "/no/such"], "--data: /no/such does not exist"),
        (["--mode", "evaluate", "nothing", "--data", "."], "no run 'nothing'"),
        (["--mode", "audit"], "--data PATH is needed"),
        (["--mode", "audit", "--data", ".", "--name", "first"], "exists already"),
        (["--name", "first"], "exists already"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_usage_is_one_clear_line(capsys, calls, results, words, message):
    places = [] if "--results" not in flags_of(MODES[_mode_of(words)]) else ["--results", results]
    assert message in refused(capsys, *words, *places)
    assert calls == []
    assert sorted(path.name for path in results.iterdir()) == ["first", "second"]


def _mode_of(words):
    text = " ".join(words)
    return next((name for name in MODES if f"--mode {name} " in f"{text} " or f"--mode={name} " in text), "flat")


@pytest.mark.parametrize(
    ("words", "message"), [([], "needs --dataset"), (["--dataset", "ck4"], "cannot be downloaded")]
)
def test_download_says_what_it_needs(capsys, words, message):
    assert message in refused(capsys, "--mode", "download", *words)


def test_results_that_are_a_file_are_refused(capsys, tmp_path):
    (tmp_path / "file").touch()
    assert "not a writable folder" in refused(capsys, "--results", tmp_path / "file")


def test_help_and_usage_errors_import_nothing_heavy(results):
    """Light imports are what makes them answer in a moment."""
    folder = str(results)
    attempts = [
        ["--help"],
        ["--mode", "hierarchical", "--help"],
        ["--epochs", "0"],
        ["--model", "nothing"],
        ["--dataset", "nothing"],
        ["--data", "/no/such"],
        ["--name", "first", "--results", folder],
        ["--resume", "nothing", "--results", folder],
        ["--resume", "first", "--seed", "1", "--results", folder],
        ["--mode", "compare", "first", "nothing", "--results", folder],
        ["--mode", "evaluate", "first", "--data", "/no/such", "--results", folder],
    ]
    script = (
        "import sys, json\n"
        "from tf_model import main\n"
        "codes = [main(words) for words in json.loads(sys.argv[1])]\n"
        f"heavy = [name for name in {HEAVY} if name in sys.modules]\n"
        "sys.exit(f'{codes} {heavy}' if heavy or codes[2:] != [2] * len(codes[2:]) else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(attempts)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_process_exits_with_the_code_and_without_a_traceback():
    words = [sys.executable, "tf_model.py", "--epochs", "0"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "tf_model.py: error: --epochs: expected at least 1 and at most 100000, got 0\n"


def test_no_arguments_train_the_default_hierarchy(capsys, calls, monkeypatch, tmp_path):
    code, out, _ = run(capsys)
    ((name, (config, stage_type), keywords),) = calls
    assert stage_type == "KerasStage"
    assert (code, name, config) == (0, "train_run", RunConfig())
    assert keywords == {"results": RESULTS, "logs": LOGS, "command": "python tf_model.py"}
    assert out.splitlines()[-1] == f"report: {tmp_path / 'results' / 'made' / 'report.html'}"


def test_flags_arrive_in_the_configuration(capsys, calls, tmp_path):
    words = ["--mode", "flat", "--data", tmp_path, "--exclude", "disgust", "--limit", "70", "--balance", "oversample"]
    words += ["--no-deterministic", "--drop-duplicates", "--no-temperature", "--flip", "off", "--name", "my-run"]
    code, _, _ = run(capsys, *words, "--results", tmp_path / "r", "--logs", tmp_path / "l")
    (_, (config, _), keywords) = calls[0]
    assert code == 0
    assert (config.mode, config.name, config.deterministic) == ("flat", "my-run", False)
    assert (config.data.exclude, config.data.limit, config.data.drop_duplicates) == (("disgust",), 70, True)
    assert (config.stage.balance, config.stage.flip, config.evaluation.temperature) == ("oversample", False, False)
    assert (keywords["results"], keywords["logs"]) == (tmp_path / "r", tmp_path / "l")
    assert f"--data {tmp_path} --exclude disgust" in keywords["command"]


def test_the_command_can_be_pasted(capsys, calls, tmp_path):
    folder = tmp_path / "my faces"
    folder.mkdir()
    run(capsys, "--data", folder)
    assert calls[0][2]["command"] == f"python tf_model.py --data '{folder}'"


def test_a_run_repeats_from_its_own_record(capsys, calls, results):
    code, _, _ = run(capsys, "--config", results / "first" / "config.json", "--results", results)
    config = calls[0][1][0]
    assert code == 0
    assert (config.seed, config.name) == (5, None)


def test_flags_go_over_the_file_and_its_mode_holds(capsys, calls, tmp_path):
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({"mode": "flat", "name": "mine", "seed": 3, "stage": {"epochs": 9}}), encoding="utf-8")
    run(capsys, "--config", file, "--seed", "4", "--results", tmp_path)
    run(capsys, "--mode", "hierarchical", "--config", file, "--results", tmp_path)
    flat, hierarchical = (call[1][0] for call in calls)
    assert (flat.mode, flat.name, flat.seed, flat.stage.epochs) == ("flat", "mine", 4, 9)
    assert hierarchical.mode == "hierarchical"


def test_other_data_than_the_files_are_recognised_anew(capsys, calls, tmp_path):
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({"data": {"dataset": "synthetic"}}), encoding="utf-8")
    code, _, _ = run(capsys, "--config", file, "--data", tmp_path)
    data = calls[0][1][0].data
    assert (code, data.data, data.dataset) == (0, str(tmp_path), None)


def test_resume_passes_the_run_and_what_was_given(capsys, calls, results):
    code, _, _ = run(capsys, "--mode", "hierarchical", "--resume", "first", "--seed", "5", "--results", results)
    ((name, arguments, keywords),) = calls
    assert (code, name, arguments) == (0, "resume_run", ("first", "KerasStage"))
    assert keywords["flags"] == {"mode": "hierarchical", "seed": "5"}
    assert keywords["results"] == results


def test_resume_refuses_other_settings(capsys, calls, results):
    message = refused(capsys, "--resume", "first", "--seed", "6", "--epochs", "2", "--results", results)
    assert "seed: 5 -> 6" in message
    assert "stage.epochs: None -> 2" in message
    assert calls == []


def test_compare_passes_all_runs_wherever_flags_stand(capsys, calls, results):
    words = ["--mode", "compare", "first", "--seed", "3", results / "second", "--resamples", "200", "--name", "pair"]
    code, _, _ = run(capsys, *words, "--results", results)
    ((name, (runs,), keywords),) = calls
    assert (code, name, runs) == (0, "compare_runs", ["first", str(results / "second")])
    assert (keywords["seed"], keywords["resamples"], keywords["name"]) == (3, 200, "pair")


def test_evaluate_passes_data_and_how_to_judge(capsys, calls, results, tmp_path):
    words = ["--mode", "evaluate", "first", "--data", tmp_path, "--exclude", "contempt", "--resamples", "200"]
    code, _, _ = run(capsys, *words, "--results", results)
    ((name, arguments, keywords),) = calls
    assert (code, name, arguments) == (0, "evaluate_run", ("first", "KerasStage"))
    assert (keywords["data"].data, keywords["data"].exclude) == (str(tmp_path), ("contempt",))
    assert keywords["evaluation"].resamples == 200


def test_audit_passes_the_data(capsys, calls, tmp_path):
    code, _, _ = run(capsys, "--mode", "audit", "--data", tmp_path, "--dataset", "folder", "--results", tmp_path / "r")
    ((name, (data,), keywords),) = calls
    assert (code, name, data.data, data.dataset) == (0, "audit_data", str(tmp_path), "folder")
    assert keywords["name"] is None


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("the data\nis odd"), 2, "tf_model.py: error: the data is odd"),
        (MemoryError(), 2, "tf_model.py: error: out of memory; try a smaller --batch-size, --image-size or --limit"),
        (OSError(errno.ENOSPC, "No space left on device", "m.keras"), 2, "tf_model.py: error: m.keras: No space left"),
        (PermissionError(errno.EACCES, "Permission denied", "r"), 2, "tf_model.py: error: r: Permission denied"),
        (KeyboardInterrupt("go on with --resume a"), 130, "interrupted; go on with --resume a"),
        (KeyboardInterrupt(), 130, "interrupted; nothing was left behind"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_ends_a_run_is_one_line(capsys, calls, monkeypatch, error, code, line):
    def fail(*arguments, **keywords):
        raise error

    monkeypatch.setattr(sys.modules["fer_hierarchy.hierarchy.training.pipeline"], "train_run", fail)
    got, _, err = run(capsys)
    assert got == code
    assert err.startswith(line)
    assert err.count("\n") == 1


def test_notes_are_shown_once_and_only_while_a_run_lasts(capsys, calls, monkeypatch, tmp_path):
    log = logging.getLogger("fer_hierarchy")

    def noting(*arguments, **keywords):
        log.warning("ten rows left out")
        log.info("a detail")
        return tmp_path

    monkeypatch.setattr(sys.modules["fer_hierarchy.hierarchy.training.pipeline"], "train_run", noting)
    before = (log.level, log.propagate, list(log.handlers))
    assert run(capsys)[2] == "note: ten rows left out\n"
    assert run(capsys)[2] == "note: ten rows left out\n"
    assert (log.level, log.propagate, list(log.handlers)) == before


def test_a_bug_shows_its_traceback(calls, monkeypatch):
    def fail(*arguments, **keywords):
        raise ValueError("a bug")

    monkeypatch.setattr(sys.modules["fer_hierarchy.hierarchy.training.pipeline"], "train_run", fail)
    with pytest.raises(ValueError, match="a bug"):
        main([])


def test_staged_flags_are_all_explained_as_such(capsys):
    _, out, _ = run(capsys, "--mode", "flat", "--help")
    training = out[out.index("training:") : out.index("evaluation:")]
    assert all("--" + name.replace("_", "-") in training for name in fields_of(StageConfig))
