"""Searches on several processes and machines."""
