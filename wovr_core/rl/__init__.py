"""Masked GRPO: torch and wovr_core.types only."""
