"""Imports go one way: hierarchy.cli -> inference, tuning -> hierarchy -> models."""

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import QUICK

ROOT = Path(__file__).resolve().parent.parent
FRONT = "fer_hierarchy"
PACKAGES = ("models", "hierarchy", "inference", "tuning", "pt_files")
OURS = {*PACKAGES, "tf_model", "tests"}
MAY_IMPORT = {
    "models": set(),
    "hierarchy": {"models"},
    "inference": {"hierarchy", "models"},
    "tuning": {"hierarchy", "models"},
    "pt_files": {"hierarchy", "models"},
}
# The program stands on top of everything; what all command lines share stands below the packages that have one.
PROGRAM = {f"hierarchy.cli.{name}" for name in ("program", "modes", "training", "results")}
SHARED_BY_PROGRAMS = {"hierarchy.cli", "hierarchy.cli.console", "hierarchy.cli.flags"}
COMMANDS = {"inference.command", "tuning.command"}
COMMANDS |= {f"pt_files.{name}" for name in ("train", "gan", "convert")}
KERAS = {"keras", "tensorflow"}
READS_KERAS_FILES = "pt_files/convert.py"
# What each program loads before it knows whether its arguments are valid must be light.
PROGRAMS = ("hierarchy.cli.program", "pt_files.train")
# Within hierarchy a package imports those of earlier lines only; "" are the modules that stand in no package.
LAYERS = (
    {""},
    {"data", "evaluation"},
    {"classifiers"},
    {"runs"},
    {"reports"},
    {"training"},
    {"experiments", "publishing"},
    {"cli"},
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
    """Dotted names that a file imports, ours without the front package; `from a import b` counts as a and a.b."""
    return (name.removeprefix(f"{FRONT}.") for name in imported_names(path, tree))


def imported_names(path, tree):
    """The same as the file writes them."""
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


def all_sources():
    return [ROOT / "tf_model.py", *(path for folder in (FRONT, *PACKAGES, "tests") for path in sources(folder))]


def test_every_import_of_ours_goes_through_the_front_package():
    wrong = {
        f"{relative(path)} imports {name}"
        for path in all_sources()
        for name in imported_names(path, parsed(path))
        if name.partition(".")[0] in PACKAGES
    }
    assert not wrong


def test_no_module_is_loaded_under_two_names(tmp_path):
    places = ["--results", tmp_path / "results", "--logs", tmp_path / "logs"]
    flags = ["--mode", "flat", "--dataset", "synthetic", "--limit", "100", "--epochs", "1", *QUICK, *places]
    script = (
        "import sys\n"
        "from tf_model import main\n"
        "assert main(sys.argv[1:]) == 0\n"
        f"print([name for name in sys.modules if name.partition('.')[0] in {PACKAGES}])\n"
        "print('fer_hierarchy.hierarchy.training.pipeline' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, flags)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines()[-2:] == ["[]", "True"], done.stderr


@pytest.mark.parametrize("package", PACKAGES)
def test_arrows_go_one_way(package):
    allowed = MAY_IMPORT[package] | {package}
    wrong = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources(package)
        if module_of(path) not in PROGRAM
        for name in imports(path, parsed(path))
        if name.partition(".")[0] in OURS - allowed
    }
    assert not wrong


def part_of(name):
    """The package of hierarchy/ that a module belongs to; "" for one that belongs to none."""
    first = name.split(".")[1] if "." in name else ""
    return first if (ROOT / "hierarchy" / first).is_dir() else ""


def layer_of(name):
    return next(number for number, parts in enumerate(LAYERS) if part_of(name) in parts)


def test_every_package_of_the_domain_has_its_layer():
    folders = {path.name for path in (ROOT / "hierarchy").iterdir() if (path / "__init__.py").is_file()}
    assert folders == set().union(*LAYERS) - {""}


def test_the_domains_layers_import_lower_ones_only():
    wrong = {
        f"{module_of(path)} imports {name}"
        for path in sources("hierarchy")
        for name in imports(path, parsed(path))
        if name.startswith("hierarchy.")
        and part_of(name) != part_of(module_of(path))
        and layer_of(name) >= layer_of(module_of(path))
    }
    assert not wrong


def test_only_command_lines_know_the_command_line():
    users = PROGRAM | SHARED_BY_PROGRAMS | COMMANDS
    wrong = {
        f"{module_of(path)} imports {name}"
        for package in PACKAGES
        for path in sources(package)
        for name in imports(path, parsed(path))
        if name.startswith("hierarchy.cli") and module_of(path) not in users
    }
    assert not wrong
    below = {
        f"{module_of(path)} imports {name}"
        for package in PACKAGES
        for path in sources(package)
        if module_of(path) not in PROGRAM | {"hierarchy.cli"}
        for name in imports(path, parsed(path))
        if name in PROGRAM
    }
    assert not below


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


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_a_program_loads_first_is_light(program):
    assert not {name.partition(".")[0] for name in loaded_by(program)} & HEAVY


LITE_PATH = (
    "inference.predict",
    "inference.predict_video",
    "inference.webcam",
    "inference.export.backends",
    "inference.faces.detectors.blazeface",
    "inference.faces.detectors.haar",
)


@pytest.mark.parametrize("module", LITE_PATH)
def test_answers_from_a_tflite_file_load_no_framework(module):
    slow = {"tensorflow", "keras", "pandas", "matplotlib", "sklearn", "scipy"}
    assert not {name.partition(".")[0] for name in loaded_by(module)} & slow


@pytest.mark.parametrize("path", sources("hierarchy/evaluation"), ids=lambda path: path.name)
def test_evaluation_knows_no_framework_no_files_and_no_figures(path):
    names = {name.partition(".")[0] for name in run_time_imports(path)}
    assert not names & {*KERAS, "matplotlib", "json", "pathlib", "csv", "io"}


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
    agreed = {FRONT, *PACKAGES, "tests", "logs", "results"}
    assert agreed <= folders
    assert folders - agreed <= {"data", "docs", "examples", "site", "__pycache__", "build", "fer_hierarchy.egg-info"}
