"""Several runs: grids, cross-validations, comparisons and ensembles."""
