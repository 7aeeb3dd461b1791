"""Searches for the hyperparameters of a stage: studies, trials and budgets."""
