"""From a path on disk to batches."""
