"""A stage and what stages make together: the trunk they may share, and how their predictions are composed."""
