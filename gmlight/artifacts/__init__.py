"""Reads and writes the files of runs and condensed sets, atomically and with hashes."""
