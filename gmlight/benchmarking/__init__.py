"""Measures speed and memory: worker processes, the textbook loop, the dry run."""
