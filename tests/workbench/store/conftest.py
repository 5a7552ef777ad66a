"""Stores on both databases."""

from stores import address, open_store, quick_disk, sqlite_store, store

__all__ = ["address", "open_store", "quick_disk", "sqlite_store", "store"]
