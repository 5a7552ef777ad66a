"""Replaying imagined rollouts for real."""
