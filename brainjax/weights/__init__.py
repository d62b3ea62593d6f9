"""Published weights of torchvision and Keras, read without either library."""

from brainjax.weights.pretrained import Filled, load_pretrained

__all__ = ["Filled", "load_pretrained"]
