"""The embedded faces: who they are, and how they are drawn."""
