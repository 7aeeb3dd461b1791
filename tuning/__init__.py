"""Searches: for the hyperparameters of a stage, for the composition of the stages, for the taxonomy."""
