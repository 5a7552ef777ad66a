"""Runs the safety process."""

from wovr_core.robots.safety.process import main

main()
