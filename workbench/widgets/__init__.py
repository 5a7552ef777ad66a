"""Notebook widgets.

from workbench.widgets import Scrubber
scrubber = Scrubber(rollout, real=episode, log="annotations.jsonl")
scrubber
"""

from workbench.widgets.scrubber import Scrubber

__all__ = ["Scrubber"]
