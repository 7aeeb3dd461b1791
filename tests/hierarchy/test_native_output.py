import subprocess
import sys

from tests.conftest import CHECKOUT

_START = "import fer_hierarchy.hierarchy; "


def run(script):
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=CHECKOUT, check=False)


def test_tensorflow_starts_without_a_word():
    done = run(_START + "import keras, tensorflow as tf; print(tf.constant(1).numpy(), tf.__spec__.name)")
    assert (done.returncode, done.stdout, done.stderr) == (0, "1 tensorflow\n", "")


def test_what_fails_afterwards_is_still_told():
    done = run(_START + "import tensorflow, sys; print('told', file=sys.stderr); raise ValueError('why')")
    assert "told" in done.stderr
    assert "ValueError: why" in done.stderr


def test_a_missing_tensorflow_is_the_usual_error():
    done = run("import sys; sys.modules['tensorflow'] = None\n" + _START + "import tensorflow")
    assert "ModuleNotFoundError" in done.stderr


CHATTER = """
import logging, os, warnings
from fer_hierarchy.hierarchy.cli.console import run_program
from fer_hierarchy.hierarchy.errors import UserError
def call():
    os.write(2, b"a library's own line\\n")
    warnings.warn("a package's warning")
    logging.getLogger("PIL").warning("a logger's warning")
    END
raise SystemExit(run_program("program", call))
"""


def test_a_program_shows_its_own_lines_and_no_library_s():
    done = run(CHATTER.replace("END", "raise UserError('what is wrong')"))
    assert (done.returncode, done.stderr) == (2, "program: error: what is wrong\n")


def test_what_no_user_can_mend_still_leaves_a_trace():
    done = run(CHATTER.replace("END", "raise ValueError('why')"))
    assert "ValueError: why" in done.stderr
    crash = run(CHATTER.replace("END", "import ctypes; ctypes.string_at(0)"))
    assert "Segmentation fault" in crash.stderr
    assert "library" not in done.stderr + crash.stderr


def test_a_program_that_others_call_leaves_their_stderr_alone():
    done = run("import io, sys; sys.stderr = io.StringIO()\n" + CHATTER.replace("END", "pass"))
    assert "a library's own line" in done.stderr
