"""Some of the random kills of `kills.py`, which by hand does a hundred of every kind of work."""

import pytest

from tests.fuzz.kills import kill


@pytest.mark.slow
def test_a_command_that_was_killed_and_given_again_ends_as_without_a_kill(tmp_path):
    done = {name: problems for name, _, problems in kill(tmp_path, ["flat", "predict csv"], kills=2, seed=3)}
    assert done == {"flat": [], "predict csv": []}
