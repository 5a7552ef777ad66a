"""The frame-exact scrubber: frame packs, divergence, annotation spans, and the one ES module that shows them."""

from pathlib import Path

MODULE_PATH = Path(__file__).with_name("scrubber.js")
"""The ES module that both hosts, JupyterLab and the Gradio app, load unchanged."""
