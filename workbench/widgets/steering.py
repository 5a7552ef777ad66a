"""Steering by hand in a notebook: set the next chunk's action with sliders and see what it leads to, at once.

from workbench.widgets import Steering
Steering({"imagined": imagine, "real": execute})      # each: actions (N, A) from the start -> frames (N+1, H, W, 3)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import ipywidgets
import numpy as np

from workbench.film_strips import film_strip, png_bytes
from wovr_core.errors import WovrError
from wovr_core.types import ACTION_DIM, CHUNK, FloatArray, Frames

Play = Callable[[FloatArray], Frames]
"""All actions from the start (N, A) -> frames (N+1, H, W, 3), the start's first. A function of its argument alone."""


class Steering(ipywidgets.VBox):
    """Sliders for one action that is held for a chunk of eight, and a film strip of the chunk it leads to.

    Args:
        players: name -> what turns actions into frames; one row of the strip each, in this order.
        shown: frames of the chunk in the strip; the first is the one before it.
        scale: screen pixels per frame pixel.

    `actions` holds the chunks that were kept, `chunk` the one under the sliders; `keep()` and `restart()` are the
    buttons' doing.
    """

    def __init__(self, players: Mapping[str, Play], shown: int = 5, scale: int = 2) -> None:
        if not players:
            raise WovrError("steering needs at least one player: a function from actions to frames")
        self._players, self._shown, self._scale = dict(players), shown, scale
        self.actions: FloatArray = np.zeros((0, ACTION_DIM), dtype=np.float32)
        """(N, A), kept so far."""
        self.frames: dict[str, Frames] = {}
        """Per player the chunk's frames (9, H, W, 3), the one before it first."""
        self.sliders = {
            name: ipywidgets.FloatSlider(
                value=0, min=-1, max=1, step=0.1, description=title, continuous_update=False, readout_format="+.1f"
            )
            for name, title in (("dx", "away"), ("dy", "left"), ("dz", "up"))
        }
        self.gripper = ipywidgets.ToggleButtons(options=[("open", -1.0), ("closed", 1.0)], description="gripper")
        self.strip = ipywidgets.Image(format="png")
        self.said = ipywidgets.HTML()
        keep = ipywidgets.Button(description="go on from here", icon="step-forward")
        restart = ipywidgets.Button(description="start again", icon="undo")
        keep.on_click(lambda _: self.keep())
        restart.on_click(lambda _: self.restart())
        for control in (*self.sliders.values(), self.gripper):
            control.observe(lambda _: self._show(), names="value")
        left = ipywidgets.VBox([*self.sliders.values(), self.gripper])
        right = ipywidgets.VBox([keep, restart, self.said])
        super().__init__([ipywidgets.HBox([left, right]), self.strip])
        self._show()

    @property
    def chunk(self) -> FloatArray:
        """(C, A), the action under the sliders, held."""
        one = np.zeros(ACTION_DIM, dtype=np.float32)
        one[:3], one[6] = [slider.value for slider in self.sliders.values()], self.gripper.value
        return np.repeat(one[None], CHUNK, axis=0)

    def keep(self) -> None:
        """Take the chunk as done; the next one begins where it ended."""
        self.actions = np.concatenate([self.actions, self.chunk])
        self._show()

    def restart(self) -> None:
        """Back to the start."""
        self.actions = self.actions[:0]
        self._show()

    def _show(self) -> None:
        whole = np.concatenate([self.actions, self.chunk])
        try:
            self.frames = {name: play(whole)[-CHUNK - 1 :] for name, play in self._players.items()}
        except WovrError as error:  # as far as a world model's horizon, for example
            self.said.value = f"{error}"
            return
        self.strip.value = png_bytes(film_strip(list(self.frames.values()), self._shown, self._scale))
        rows = " above ".join(f"<b>{name}</b>" for name in self._players)
        self.said.value = f"{rows}: chunk {len(self.actions) // CHUNK + 1}, every second frame"
