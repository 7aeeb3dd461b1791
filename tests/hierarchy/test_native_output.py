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
