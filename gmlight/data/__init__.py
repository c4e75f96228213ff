"""Datasets, the real batches drawn from them, and augmentation."""
