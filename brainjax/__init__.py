"""brainjax: brain-MRI deep learning in pure JAX."""

__version__ = "0.1.0"
