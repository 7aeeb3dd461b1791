"""What workers do in tests; they import this module."""

import logging
import os
import signal
import time

from fer_hierarchy.hierarchy.errors import UserError


def meet(folder, own, other):
    """Wait until another task runs as well; give this process."""
    (folder / own).touch()
    for _ in range(1000):
        if (folder / other).exists():
            return os.getpid()
        time.sleep(0.05)
    raise AssertionError("the other task does not run")


def threads():
    return os.environ["TF_NUM_INTRAOP_THREADS"]


def warn(text):
    logging.getLogger("fer_hierarchy").warning(text)
    return 7


def refuse():
    raise UserError("no such thing")


def die_until(path, deaths):
    """Kill this process, but for the last time; give how often this has run."""
    count = int(path.read_text()) + 1 if path.exists() else 1
    path.write_text(str(count))
    if count <= deaths:
        os.kill(os.getpid(), signal.SIGKILL)
    return count


def go_on(folder):
    """Work until interrupted."""
    (folder / "begun").touch()
    try:
        while True:
            time.sleep(0.05)
    finally:
        (folder / "ended").touch()
