"""Training of networks on a set, and the test accuracy of fresh networks."""
