"""Batches as a function of (seed, step). `tfdata` is imported only when asked for."""

from brainjax.data.order import Order
from brainjax.data.records import from_records
from brainjax.data.source import Input, Source

__all__ = ["Input", "Order", "Source", "from_records"]
