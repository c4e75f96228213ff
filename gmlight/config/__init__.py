"""Composes, checks, labels, stores and resumes Hydra configurations."""
