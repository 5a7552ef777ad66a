"""The starter pack: a real run made small enough to travel inside the package, and how it is made and unpacked."""

from __future__ import annotations

from pathlib import Path

DATA = Path(__file__).with_name("data")
"""Where the pack lies in this package: manifest.json, and the run folder's files under run/."""
RUN = "starter"
"""What the unpacked run is called, under $WOVR_HOME/runs."""
PLACE = "@RUN@"
"""Stands in the pack's outputs.json files for the folder that the run is unpacked to."""
