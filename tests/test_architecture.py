"""Imports go one way: tf_model -> inference, tuning -> hierarchy -> models."""

import ast
import functools
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("models", "hierarchy", "inference", "tuning", "pt_files")
OURS = {*PACKAGES, "tf_model", "tests"}
MAY_IMPORT = {
    "models": set(),
    "hierarchy": {"models"},
    "inference": {"hierarchy", "models"},
    "tuning": {"hierarchy", "models"},
    "pt_files": {"hierarchy", "models"},
}
KERAS = {"keras", "tensorflow"}
READS_KERAS_FILES = "pt_files/convert.py"
# What the command line loads before it knows whether its arguments are valid.
LIGHT = (
    "tf_model.py",
    "hierarchy/__init__.py",
    "hierarchy/config.py",
    "hierarchy/console.py",
    "hierarchy/crossval.py",
    "hierarchy/errors.py",
    "hierarchy/flags.py",
    "hierarchy/grid.py",
    "hierarchy/native_output.py",
    "hierarchy/paths.py",
    "hierarchy/runs.py",
    "hierarchy/taxonomy.py",
    "hierarchy/transfer.py",
    "hierarchy/data/__init__.py",
    "hierarchy/data/download.py",
    "hierarchy/data/sources/__init__.py",
    "inference/__init__.py",
    "inference/command.py",
    "inference/rows.py",
    "inference/settings.py",
    "models/__init__.py",
    "models/checks.py",
    "models/registry.py",
    "models/spec.py",
    "pt_files/__init__.py",
    "pt_files/limits.py",
    "pt_files/train.py",
    "tuning/__init__.py",
    "tuning/address.py",
    "tuning/command.py",
    "tuning/default_spaces.py",
    "tuning/dimension.py",
    "tuning/settings.py",
    "tuning/spaces.py",
    "tuning/study.py",
)
HEAVY = {"tensorflow", "keras", "numpy", "pandas", "matplotlib", "sklearn", "scipy", "cv2", "PIL", "imblearn", "torch"}


def sources(package):
    return sorted((ROOT / package).rglob("*.py"))


def parsed(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def relative(path):
    return path.relative_to(ROOT).as_posix()


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path, tree):
    """Dotted names that a file imports; `from a import b` counts as a and a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module_of(path).split(".")
                package = package if path.name == "__init__.py" else package[:-1]
                base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


@functools.cache
def top_level_imports(path):
    """Imports that run when the module is loaded: not those inside functions or under TYPE_CHECKING."""
    body = [node for node in parsed(path).body if isinstance(node, ast.Import | ast.ImportFrom)]
    return set(imports(path, ast.Module(body=body, type_ignores=[])))


def run_time_imports(path):
    """Imports of a whole file but those that only the type checker sees."""
    tree = parsed(path)
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            node.body = []
    return set(imports(path, tree))


def loaded_by(name):
    """Dotted names of all that importing a module loads, as far as our own files tell."""
    loaded, left = set(), [name]
    while left:
        name = left.pop()
        if name and name not in loaded:
            loaded.add(name)
            place = ROOT.joinpath(*name.split("."))
            files = [path for path in (place / "__init__.py", place.with_suffix(".py")) if path.is_file()]
            left += [name.rpartition(".")[0], *(further for path in files for further in top_level_imports(path))]
    return loaded


@pytest.mark.parametrize("package", PACKAGES)
def test_arrows_go_one_way(package):
    allowed = MAY_IMPORT[package] | {package}
    wrong = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources(package)
        for name in imports(path, parsed(path))
        if name.partition(".")[0] in OURS - allowed
    }
    assert not wrong


@pytest.mark.parametrize("path", sources("pt_files"), ids=lambda path: path.name)
def test_pytorch_works_without_keras(path):
    """What pt_files imports loads no Keras; the converter may ask for it, within its functions."""
    names = top_level_imports(path) if relative(path) == READS_KERAS_FILES else run_time_imports(path)
    names |= {name for name in run_time_imports(path) if name.partition(".")[0] == "hierarchy"}
    assert not {name for name in names if loaded_by(name) & KERAS}


def test_pytorch_stays_in_its_own_package():
    files = [
        ROOT / "tf_model.py",
        *(path for package in PACKAGES if package != "pt_files" for path in sources(package)),
    ]
    assert not {
        relative(path) for path in files for name in imports(path, parsed(path)) if name.partition(".")[0] == "torch"
    }


@pytest.mark.parametrize("file", LIGHT)
def test_what_the_command_line_loads_first_is_light(file):
    assert not {name.partition(".")[0] for name in top_level_imports(ROOT / file)} & HEAVY


LITE_PATH = ("inference.predict", "inference.predict_video", "inference.backends.lite", "inference.detectors.haar")


@pytest.mark.parametrize("module", LITE_PATH)
def test_answers_from_a_tflite_file_load_no_framework(module):
    slow = {"tensorflow", "keras", "pandas", "matplotlib", "sklearn", "scipy"}
    assert not {name.partition(".")[0] for name in loaded_by(module)} & slow


def test_measures_know_no_framework_and_no_files():
    names = top_level_imports(ROOT / "hierarchy" / "evaluation" / "metrics.py")
    assert not {name.partition(".")[0] for name in names} & {"tensorflow", "keras", "matplotlib", "json", "pathlib"}


def test_no_module_is_a_drawer_for_leftovers():
    names = {path.stem for package in PACKAGES for path in sources(package)}
    assert not names & {"utils", "util", "helpers", "misc", "common"}


def test_nothing_unsafe_is_called():
    """No eval, exec or pickle anywhere: files of other people's making are read as data, never as code."""
    wrong = []
    for path in [ROOT / "tf_model.py", *(p for package in PACKAGES for p in sources(package))]:
        tree = parsed(path)
        named = {
            node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        bad = named & {"eval", "exec"} | {n for n in imports(path, tree) if n.partition(".")[0] in ("pickle", "joblib")}
        bare = [node for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler) and node.type is None]
        wrong += [f"{path.relative_to(ROOT)}: {sorted(bad)} {len(bare)} bare except"] if bad or bare else []
    assert not wrong


def test_the_top_level_holds_what_was_agreed():
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}
    agreed = {*PACKAGES, "tests", "logs", "results"}
    assert agreed <= folders
    assert folders - agreed <= {"docs", "data", "site", "__pycache__"}
