"""Keras builders, found by name in `models.registry`: they take shapes and class counts, never emotions."""
