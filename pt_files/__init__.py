"""PyTorch twins of the networks in `models/`, and what carries weights from one framework to the other."""
