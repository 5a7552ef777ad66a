"""Which kind of world model a configuration means: our own, or that of a plug-in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from wovr_core import plugins
from wovr_core.plugins import ConfiguredPlugin
from wovr_core.types import Episode
from wovr_core.world_model.model import build


@dataclass(frozen=True)
class WorldModelPlugin(ConfiguredPlugin):
    """A kind of world model of another package (`wovr.world_models`). Its configuration has `image_size`."""

    build: Callable[[Any], Any]
    """configuration -> a `torch.nn.Module` with `config`, `device`, `codec` (`encode`, `decode`, `encode_frames`,
    `decode_frames`), `imagine_chunk` and `next_context`, as `world_model.model.WorldModel` has them. The shape of what
    its codec makes is its own affair, but that frames' latents are joined along axis 1."""
    train: Callable[[Any, Sequence[Episode], int, Callable[[int, dict[str, float]], None]], None]
    """(model, episodes, seed, log(step, metrics)): learn from these, anew or from where it stands."""


def plugin_of(config: Any) -> WorldModelPlugin | None:
    """The plug-in of this configuration; None for our own. Raises UnknownNameError or PluginError."""
    kind = getattr(config, "kind", None)
    return plugins.load(plugins.WORLD_MODELS, kind, WorldModelPlugin) if kind else None


def build_world_model(config: Any) -> Any:
    """The model of this configuration with its first weights."""
    plugin = plugin_of(config)
    return plugin.build(config) if plugin else build(config)
