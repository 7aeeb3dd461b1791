"""A run's folder: how it is made, what it holds, and the faces that belong to it."""
