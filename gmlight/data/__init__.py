"""Real images, the batches drawn from them, and augmentation."""
