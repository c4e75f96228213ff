"""Measurements: worker processes, the textbook loop, the dry run."""
