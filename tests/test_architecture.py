"""Imports go one way: tf_model -> inference, tuning -> hierarchy -> models."""

import ast
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
    "pt_files": {"hierarchy"},
}
PT_FILES_MAY_READ = {"hierarchy.data", "hierarchy.taxonomy", "hierarchy.config", "hierarchy.evaluation"}
# What the command line loads before it knows whether its arguments are valid.
LIGHT = (
    "tf_model.py",
    "hierarchy/__init__.py",
    "hierarchy/config.py",
    "hierarchy/errors.py",
    "hierarchy/paths.py",
    "hierarchy/runs.py",
    "hierarchy/taxonomy.py",
    "hierarchy/data/__init__.py",
    "hierarchy/data/download.py",
    "hierarchy/data/sources/__init__.py",
    "models/__init__.py",
    "models/registry.py",
)
HEAVY = {"tensorflow", "keras", "numpy", "pandas", "matplotlib", "sklearn", "scipy", "cv2", "PIL", "imblearn"}


def sources(package):
    return sorted((ROOT / package).rglob("*.py"))


def parsed(path):
    return ast.parse(path.read_text(encoding="utf-8"))


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


def top_level_imports(path):
    """Imports that run when the module is loaded: not those inside functions or under TYPE_CHECKING."""
    body = [node for node in parsed(path).body if isinstance(node, ast.Import | ast.ImportFrom)]
    return set(imports(path, ast.Module(body=body, type_ignores=[])))


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


def test_pt_files_read_the_domain_only():
    wrong = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources("pt_files")
        for name in imports(path, parsed(path))
        if name.startswith("hierarchy.") and ".".join(name.split(".")[:2]) not in PT_FILES_MAY_READ
    }
    assert not wrong


@pytest.mark.parametrize("file", LIGHT)
def test_what_the_command_line_loads_first_is_light(file):
    assert not {name.partition(".")[0] for name in top_level_imports(ROOT / file)} & HEAVY


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
    assert folders - agreed <= {"data", "__pycache__"}
