"""The method of WoVR (arXiv 2602.13977): world models as reliable simulators for RL of VLA policies."""

__version__ = "0.1.0"
