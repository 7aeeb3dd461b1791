"""Runs as files of other runtimes: written, opened and compared with the run."""
