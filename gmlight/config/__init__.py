"""Hydra configurations: composed, checked, labelled, stored and resumed."""
