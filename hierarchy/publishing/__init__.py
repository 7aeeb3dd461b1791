"""Giving a run away: small weights, no faces, and a model card."""
