"""README and docs: commands that the program takes, examples that work, and a table of flags that is up to date."""

import dataclasses
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import fer_hierarchy
from docs import make_flags
from fer_hierarchy.hierarchy.cli import main
from fer_hierarchy.hierarchy.cli.modes import MODES
from fer_hierarchy.hierarchy.cli.program import flags_of
from fer_hierarchy.hierarchy.config import WORDS, RunConfig, StageConfig, check_value, parse_staged
from fer_hierarchy.hierarchy.taxonomy import TAXONOMIES, load_taxonomy
from tests.conftest import CHECKOUT

README = CHECKOUT / "README.md"
DOCS = sorted((CHECKOUT / "docs").glob("*.md"))
PAGES = [README, CHECKOUT / "results" / "README.md", *DOCS]
PROGRAM = "python tf_model.py "
GUIDES = "\n".join(page.read_text(encoding="utf-8") for page in [README, *DOCS] if page.name != "flags.md")


def commands(page: Path) -> Iterator[str]:
    """The arguments of every `python tf_model.py` in fenced blocks and in code within lines."""
    text = page.read_text(encoding="utf-8")
    fence = re.compile(r"^```\w*\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
    inline = (" ".join(code.split()) for code in re.findall(r"`([^`]+)`", fence.sub("", text)))
    for line in (*(line for block in fence.findall(text) for line in shell_lines(block)), *inline):
        for part in re.split(r"&&|\|", line):
            words = part.partition(PROGRAM)[2]
            if words and "--mode MODE" not in words and not part.lstrip().startswith("#"):
                yield words


def shell_lines(block: str) -> Iterator[str]:
    """Lines of a shell script with its variables filled in."""
    values = dict(re.findall(r'^(\w+)="([^"]*)"', block, flags=re.MULTILINE))
    for line in block.replace("\\\n", " ").splitlines():
        for name, value in values.items():
            line = line.replace(f"${name}", " ".join(value.split()))
        yield line


def unbraced(word: str) -> list[str]:
    """What a shell makes of a{b,c}d: abd and acd."""
    parts = [part.split(",") for part in re.split(r"[{}]", word)] if "{" in word else [[word]]
    return ["".join(chosen) for chosen in itertools.product(*parts)]


SHOWN = [(page.relative_to(CHECKOUT).as_posix(), command) for page in PAGES for command in commands(page)]


@pytest.fixture
def parsed(monkeypatch):
    """Calls of the modes, kept instead of made once every value has passed the check of its setting."""
    made = []

    def keep(name, mode):
        def call(given, _command):
            for part, settings in mode.fields.items():
                several = {name for name, word in WORDS if given.get(name) == word}
                for setting in (set(settings) & set(given)) - {"taxonomy"} - several:
                    if part is StageConfig:
                        parse_staged(setting, str(given[setting]), f"--{setting}")
                    else:
                        check_value(part, setting, given[setting], f"--{setting}")
            made.append(name)

        return call

    for name, mode in list(MODES.items()):
        monkeypatch.setitem(MODES, name, dataclasses.replace(mode, call=keep(name, mode)))
    return made


@pytest.mark.parametrize(("page", "command"), SHOWN)
def test_the_program_takes_every_command_that_is_shown(page, command, parsed, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [part for word in shlex.split(command, comments=True) for part in unbraced(word)]
    if "--study-dir" in words:
        words[words.index("--study-dir") + 1] = str(tmp_path)
    assert main(words) == 0, capsys.readouterr().err
    assert parsed or "--help" in words


def test_commands_are_found():
    assert {page for page, _ in SHOWN} >= {"README.md", "results/README.md", "docs/tune.md", "docs/rgbd.md"}
    assert len(SHOWN) > 100


@pytest.mark.parametrize("words", ["--mode flat --epoch 3", "--mode flat --optimizer adam", "--mode flat --limit few"])
def test_a_wrong_command_would_be_found(words, parsed, capsys):
    assert main(words.split()) == 2


def test_the_example_of_every_mode_is_shown():
    assert [mode.example for mode in MODES.values() if mode.example not in GUIDES] == []


def test_every_source_model_and_taxonomy_is_named():
    from fer_hierarchy.hierarchy.data.sources import source_names
    from fer_hierarchy.models.registry import list_models

    assert [name for name in (*source_names(), *list_models(), *TAXONOMIES) if f"`{name}`" not in GUIDES] == []


def test_the_table_of_flags_is_up_to_date():
    assert make_flags.PAGE.read_text(encoding="utf-8") == make_flags.page(), "run python docs/make_flags.py"


@pytest.mark.parametrize("name", MODES)
def test_the_table_of_flags_names_every_flag(name):
    flags = {re.sub("^--no-", "--", flag) for flag in flags_of(MODES[name])} - {"-h", "--help"}
    assert [flag for flag in sorted(flags) if not re.search(rf"^\| `{flag}[ `]", make_flags.page(), re.MULTILINE)] == []


@pytest.mark.parametrize("page", [*CHECKOUT.glob("*.md"), *CHECKOUT.glob("*/README.md")], ids=str)
def test_every_link_outside_of_the_site_leads_somewhere(page):
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_readme_is_short():
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 200


def test_the_readmes_python_runs(tmp_path):
    code = re.search(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)[1]
    shutil.copy(CHECKOUT / "docs" / "images" / "group.jpg", tmp_path / "photo.jpg")
    place = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=place, check=False, capture_output=True, text=True
    )
    assert "happy" in done.stdout, done.stderr


def example(path: str) -> str:
    """A file that the docs show."""
    return re.search(rf"<!-- example: {re.escape(path)} -->\n```\w+\n(.*?)```", GUIDES, re.DOTALL)[1]


def test_the_taxonomy_of_the_docs_works(tmp_path):
    (tmp_path / "mine.json").write_text(example("mine.json"), encoding="utf-8")
    taxonomy = load_taxonomy(str(tmp_path / "mine.json"))
    assert taxonomy.stages(RunConfig().mode) == ("approach", "toward", "away")


def test_the_data_source_of_the_docs_works(tmp_path, monkeypatch):
    from fer_hierarchy.hierarchy.data import sources

    modules, data = tmp_path / "modules", tmp_path / "data"
    modules.mkdir()
    (data / "images").mkdir(parents=True)
    (modules / "labfaces.py").write_text(example("hierarchy/data/sources/labfaces.py"), encoding="utf-8")
    (data / "labels.csv").write_text("file,emotion,person\na.png,Happiness,p1\nb.png,sad,p2\n", encoding="utf-8")
    monkeypatch.setattr(sources, "__path__", [*sources.__path__, str(modules)])
    try:
        manifest = sources.read_source(data)
    finally:
        sys.modules.pop("fer_hierarchy.hierarchy.data.sources.labfaces", None)
    assert manifest["source"].unique().tolist() == ["labfaces"]
    assert manifest["emotion"].tolist() == ["happy", "sad"]
    assert manifest["subject"].tolist() == ["p1", "p2"]


def test_the_model_of_the_docs_works(tmp_path, monkeypatch):
    from fer_hierarchy import models
    from fer_hierarchy.models import registry

    (tmp_path / "tiny_cnn.py").write_text(example("models/tiny_cnn.py"), encoding="utf-8")
    monkeypatch.setattr(models, "__path__", [*models.__path__, str(tmp_path)])
    monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    try:
        model = registry.create_model("tiny_cnn", input_shape=(16, 16, 3), num_classes=4, width=8)
    finally:
        sys.modules.pop("fer_hierarchy.models.tiny_cnn", None)
    assert model.output_shape == (None, 4)


def test_the_python_reference_has_every_public_name():
    page = (CHECKOUT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^::: .*\.(\w+)$", page, re.MULTILINE)) == sorted(fer_hierarchy.__all__)


@pytest.mark.parametrize("notebook", sorted((CHECKOUT / "examples").glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_shows_what_it_printed_and_no_error(notebook):
    cells = [cell for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert {output["output_type"] for output in outputs} <= {"stream", "display_data", "execute_result"}
    assert all(output.get("name") != "stderr" for output in outputs)


def test_ci_runs_the_readmes_own_test_command():
    block = re.search(r"<!-- test command -->\n```\n(.*)\n```\n<!-- end -->", README.read_text(encoding="utf-8"))[1]
    assert block.endswith("&& .venv/bin/python -m pytest")
    assert "requirements.txt" in block
    assert "<!-- test command -->" in (CHECKOUT / ".ci" / "run").read_text(encoding="utf-8")
