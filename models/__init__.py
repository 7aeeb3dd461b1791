"""Keras builders, found by name in `models.registry`: they know shapes and class counts, never emotions."""
