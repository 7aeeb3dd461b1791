"""Hyperparameter searches over the models belong here; nothing is implemented yet."""
