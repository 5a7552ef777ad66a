"""Which kind of policy a configuration means: TinyVLA, OpenVLA-OFT, or that of a plug-in."""

from __future__ import annotations

from typing import Any

from wovr_core import plugins
from wovr_core.policy.base import PolicyPlugin
from wovr_core.policy.openvla_oft.imitation import imitation_loss
from wovr_core.policy.openvla_oft.policy import OpenVLAOFT, OpenVLAOFTConfig
from wovr_core.policy.sft import sft_loss
from wovr_core.policy.tiny_vla import TinyVLAConfig, build
from wovr_core.seeding import global_draws

TINY_VLA = PolicyPlugin(
    config=TinyVLAConfig,
    build=lambda config, seed: build(config, seed=seed),
    imitation_loss=sft_loss,
    fit=lambda policy, actions: policy.action_bins.fit(actions),
)


def _openvla_oft(config: OpenVLAOFTConfig, seed: int) -> OpenVLAOFT:
    with global_draws(seed):
        return OpenVLAOFT(config)


OPENVLA_OFT = PolicyPlugin(config=OpenVLAOFTConfig, build=_openvla_oft, imitation_loss=imitation_loss)


def policy_of(config: Any) -> PolicyPlugin:
    """The kind of policy of this configuration. Raises UnknownNameError or PluginError."""
    if isinstance(config, OpenVLAOFTConfig):
        return OPENVLA_OFT
    kind = getattr(config, "kind", None)
    return plugins.load(plugins.POLICIES, kind, PolicyPlugin) if kind else TINY_VLA
