"""An installed copy: what its wheel holds, and that it works in a folder of its own."""

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import fer_hierarchy
from tests.conftest import CHECKOUT, QUICK

PACKAGES = ("hierarchy", "inference", "models", "pt_files", "tuning")
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))


def test_every_package_is_listed():
    folders = {path.parent for name in PACKAGES for path in (CHECKOUT / name).rglob("*.py")}
    ours = {"fer_hierarchy", *(f"fer_hierarchy.{'.'.join(path.relative_to(CHECKOUT).parts)}" for path in folders)}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == ours | {"fer_hierarchy.weights.shared"}


def test_torch_is_pinned_alike_in_the_extra_and_in_its_requirements():
    lines = (CHECKOUT / "pt_files" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    wanted = [line.partition("#")[0].strip() for line in lines if line.partition("#")[0].strip()]
    assert PROJECT["project"]["optional-dependencies"]["torch"] == wanted


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel of this checkout, made in a copy so that no build folder is left here."""
    source, made = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("made")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    for name in filter(None, tracked.stdout.split("\0")):
        if not name.startswith("tests/"):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((CHECKOUT / name).read_bytes())
    build = ["-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index", "-w", made, source]
    subprocess.run([sys.executable, *map(str, build)], check=True, capture_output=True)
    (file,) = made.glob("fer_hierarchy-*.whl")
    return file


@pytest.mark.slow
def test_the_wheel_holds_every_module_and_file_of_the_packages_and_nothing_else(wheel):
    held = set(zipfile.ZipFile(wheel).namelist())
    modules = {
        f"fer_hierarchy/{path.relative_to(CHECKOUT).as_posix()}"
        for name in PACKAGES
        for path in (CHECKOUT / name).rglob("*.py")
    }
    files = {"hierarchy/data/audit/pixels/published.json", "hierarchy/reports/page.html", "hierarchy/reports/page.md"}
    files |= {
        "py.typed",
        *(f"weights/shared/{name}" for name in ("config.json", "export/shared.tflite", "splits.csv")),
    }
    assert held >= modules | {f"fer_hierarchy/{name}" for name in files}
    assert {name.partition("/")[0].partition("-")[0] for name in held} == {"fer_hierarchy"}
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in held)


@pytest.mark.slow
def test_an_installed_copy_trains_and_predicts_in_a_folder_of_its_own(wheel, tmp_path):
    site, here = tmp_path / "site", tmp_path / "here"
    here.mkdir()
    zipfile.ZipFile(wheel).extractall(site)
    environment = {**os.environ, "PYTHONPATH": str(site), "XDG_CACHE_HOME": str(tmp_path / "caches")}
    del environment["FER_CACHE"]

    def program(*words: object) -> str:
        command = [sys.executable, "-m", "fer_hierarchy", *map(str, words)]
        done = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert program("--version") == f"fer-hierarchy {fer_hierarchy.__version__}\n"
    assert program("--help").startswith("usage: fer-hierarchy [--mode MODE]")
    report = program("--mode", "flat", "--limit", "100", "--epochs", "1", *QUICK, "--name", "first").splitlines()[-1]
    assert Path(report.removeprefix("report: ")) == here / "results" / "synthetic-first" / "report.html"
    assert sorted(path.name for path in here.iterdir()) == ["logs", "results"]
    face = next((tmp_path / "caches" / "fer-hierarchy" / "synthetic").rglob("*.png"))
    assert "1 file; 1 face" in program("--mode", "predict", face, "--cropped")
    assert not [path for path in site.iterdir() if not path.name.startswith("fer_hierarchy")]
