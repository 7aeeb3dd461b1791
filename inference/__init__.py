"""Answers from a saved run on new images belong here; nothing is implemented yet."""
