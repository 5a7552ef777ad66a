"""How messages write numbers and what they count."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """ "1 episode", "3 episodes": for nouns whose plural takes an s."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
