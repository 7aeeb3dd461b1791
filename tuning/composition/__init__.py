"""The search for how to compose the stages of a finished run."""
