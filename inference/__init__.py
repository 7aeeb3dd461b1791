"""Answers from a saved run: where it looks on faces (`explain`)."""
