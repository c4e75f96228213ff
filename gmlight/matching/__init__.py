"""Class gradients, the distances between them, and the gradient of the synthetic images (Algorithm 1)."""
