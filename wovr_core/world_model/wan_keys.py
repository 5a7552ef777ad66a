"""Names of Wan's tensors: its own (and RLinf's) on one side, diffusers' (and ours) on the other, both ways.

A table of rules for each network. A rule is a pair of patterns with the same fields: {n} and {m} are numbers, {leaf} is
the rest of the name. What no rule names is reported, never passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from wovr_core.errors import WovrError

PREFIX = "pipe.dit."
"""What RLinf's training may leave before every name."""

Rules = tuple[tuple[str, str], ...]

_ATTENTION: Rules = tuple(
    (f"blocks.{{n}}.{theirs}.{a}.{{leaf}}", f"blocks.{{n}}.{ours}.{b}.{{leaf}}")
    for theirs, ours in (("self_attn", "attn1"), ("cross_attn", "attn2"))
    for a, b in (
        ("q", "to_q"), ("k", "to_k"), ("v", "to_v"), ("o", "to_out.0"), ("norm_q", "norm_q"), ("norm_k", "norm_k"),
    )
)  # fmt: skip

TEXT = "text_embedding."
"""The text embedder's, which an action-conditioned model carries and does not use."""

TRANSFORMER: Rules = (
    *_ATTENTION,
    (
        "blocks.{n}.norm3.{leaf}",
        "blocks.{n}.norm2.{leaf}",
    ),  # the cross-attention's; the two others have no values
    ("blocks.{n}.ffn.0.{leaf}", "blocks.{n}.ffn.net.0.proj.{leaf}"),
    ("blocks.{n}.ffn.2.{leaf}", "blocks.{n}.ffn.net.2.{leaf}"),
    ("blocks.{n}.modulation", "blocks.{n}.scale_shift_table"),
    ("patch_embedding.{leaf}", "patch_embedding.{leaf}"),
    ("time_embedding.0.{leaf}", "condition_embedder.time_embedder.linear_1.{leaf}"),
    ("time_embedding.2.{leaf}", "condition_embedder.time_embedder.linear_2.{leaf}"),
    ("time_projection.1.{leaf}", "condition_embedder.time_proj.{leaf}"),
    ("head.head.{leaf}", "proj_out.{leaf}"),
    ("head.modulation", "scale_shift_table"),
    ("action_mlp1.{n}.{leaf}", "condition_embedder.action_tokens.{n}.{leaf}"),
    ("action_mlp2.{n}.{leaf}", "condition_embedder.action_time.{n}.{leaf}"),
)


def _residual(theirs: str, ours: str) -> Rules:
    parts = (
        ("residual.0", "norm1"), ("residual.2", "conv1"), ("residual.3", "norm2"), ("residual.6", "conv2"),
        ("shortcut", "conv_shortcut"),
    )  # fmt: skip
    return tuple((f"{theirs}.{a}.{{leaf}}", f"{ours}.{b}.{{leaf}}") for a, b in parts)


def _half(name: str, stages: str, sampler: str) -> Rules:
    """Of encoder or decoder: they differ in the names of their stages."""
    theirs, ours = f"{name}.{stages}samples.{{n}}.{stages}samples.{{m}}", f"{name}.{stages}_blocks.{{n}}"
    return (
        (f"{name}.conv1.{{leaf}}", f"{name}.conv_in.{{leaf}}"),
        *_residual(theirs, f"{ours}.resnets.{{m}}"),
        (f"{theirs}.resample.1.{{leaf}}", f"{ours}.{sampler}.resample.1.{{leaf}}"),
        (f"{theirs}.time_conv.{{leaf}}", f"{ours}.{sampler}.time_conv.{{leaf}}"),
        *_residual(f"{name}.middle.0", f"{name}.mid_block.resnets.0"),
        (f"{name}.middle.1.{{leaf}}", f"{name}.mid_block.attentions.0.{{leaf}}"),
        *_residual(f"{name}.middle.2", f"{name}.mid_block.resnets.1"),
        (f"{name}.head.0.{{leaf}}", f"{name}.norm_out.{{leaf}}"),
        (f"{name}.head.2.{{leaf}}", f"{name}.conv_out.{{leaf}}"),
    )


VAE: Rules = (
    ("conv1.{leaf}", "quant_conv.{leaf}"),
    ("conv2.{leaf}", "post_quant_conv.{leaf}"),
    *_half("encoder", "down", "downsampler"),
    *_half("decoder", "up", "upsampler"),
)
"""Of the Wan2.2 autoencoder; diffusers' own converter knows only the 2.1 one."""


def to_diffusers(names: Iterable[str], rules: Rules) -> dict[str, str | None]:
    """Wan's names -> diffusers'; None for a name that no rule knows."""
    compiled = [(_pattern(theirs), ours) for theirs, ours in rules]
    return {name: _renamed(name, compiled, {}) for name in names}


def to_wan(names: Iterable[str], rules: Rules, samplers: Mapping[str, int] | None = None) -> dict[str, str]:
    """Diffusers' names -> Wan's.

    Args:
        samplers: number {m} of each half's samplers ("encoder", "decoder"), which diffusers' names leave out: Wan
            counts them on after the stage's residual blocks. Only the autoencoder needs it.

    Raises:
        WovrError: a name that no rule knows.
    """
    compiled = [(_pattern(ours), theirs) for theirs, ours in rules]
    found = {}
    for name in names:
        number = (samplers or {}).get(name.split(".", 1)[0], 0)
        renamed = _renamed(name, compiled, {"m": str(number)})
        if renamed is None:
            raise WovrError(f"tensor {name} has no name in Wan's own format")
        found[name] = renamed
    return found


def _pattern(template: str) -> re.Pattern[str]:
    text = re.escape(template)
    for field, expression in (("n", r"\d+"), ("m", r"\d+"), ("leaf", r"[a-z_.]+")):
        text = text.replace(re.escape(f"{{{field}}}"), f"(?P<{field}>{expression})")
    return re.compile(text)


def _renamed(name: str, compiled: list[tuple[re.Pattern[str], str]], defaults: dict[str, str]) -> str | None:
    for pattern, template in compiled:
        match = pattern.fullmatch(name)
        if match:
            return template.format(**{**defaults, **match.groupdict()})
    return None


@dataclass(frozen=True)
class KeyReport:
    """What a foreign file had, compared with what is wanted of it."""

    read: int
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    reshaped: tuple[str, ...] = ()
    """Tensors of another shape, with both shapes."""

    @property
    def complete(self) -> bool:
        return not (self.missing or self.unexpected or self.reshaped)

    def __str__(self) -> str:
        if self.complete:
            return f"{self.read} tensors, nothing missing, nothing left over"
        parts = []
        for label, names in (
            ("missing", self.missing), ("unexpected", self.unexpected), ("of another shape", self.reshaped)
        ):  # fmt: skip
            if names:
                parts.append(f"{len(names)} {label} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})")
        return f"{self.read} tensors read, " + ", ".join(parts)


def compare(found: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]]) -> KeyReport:
    """Names and shapes of a file against those wanted, both in the file's names."""
    both = [name for name in found if name in wanted]
    differing = [name for name in both if found[name] != wanted[name]]
    return KeyReport(
        read=len(both) - len(differing),
        missing=tuple(sorted(set(wanted) - set(found))),
        unexpected=tuple(sorted(set(found) - set(wanted))),
        reshaped=tuple(f"{name} {found[name]} for {wanted[name]}" for name in differing),
    )
