"""Builds objects from a composed configuration."""
