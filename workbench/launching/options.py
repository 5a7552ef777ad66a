"""Every option of a recipe, read from its dataclasses: name, type, default, and the docstring beneath it as help."""

from __future__ import annotations

import ast
import dataclasses
import difflib
import inspect
import itertools
import json
import textwrap
import types
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from wovr_core.config import concrete, to_dict

_COMMON = {
    "seed": "Of every random draw.",
    "steps": "Optimiser steps.",
    "reward_steps": "Optimiser steps of the reward classifier.",
    "batch": "Samples of each optimiser step.",
    "learning_rate": "The greatest, after warm-up.",
    "reward_learning_rate": "Of the reward classifier.",
    "weight_decay": "AdamW's.",
    "warmup": "Optimiser steps over which the learning rate rises.",
    "ema_decay": "Of the moving average of the weights, which is what is kept.",
    "solver_steps": "Sampler steps for each imagined chunk.",
    "horizons": "Imagined frames after which quality is measured.",
    "episodes": "Real episodes of each task.",
    "max_steps": "Actions after which an episode that has not succeeded ends.",
    "temperature": "Of the policy's sampling; 0 takes the likeliest action.",
    "updates": "Optimisation rounds, each on groups that are imagined anew.",
    "group_size": "Rollouts that begin at one keyframe, and are compared with each other.",
    "groups_per_batch": "Groups that are imagined side by side; more need more memory.",
    "chunks": "The longest rollout, in chunks of 8 actions.",
    "clip_low": "The ratio of new to old odds counts down to 1 - this.",
    "clip_high": "The ratio of new to old odds counts up to 1 + this.",
    "image_size": "H = W of the pictures that it sees, in pixels: that of `env.size`.",
    "chunk": "Actions that are decided at once.",
    "action_dim": "Numbers of an action.",
    "keypoints": "Places in the picture that are read out of it.",
    "hidden": "Width of the layers behind the keypoints.",
    "layers": "Blocks of the transformer.",
    "heads": "Attention heads of each block.",
    "head_dim": "Width of each head; the transformer is `heads` times as wide.",
    "ffn_ratio": "Width of the feed-forward layers, in widths of the transformer.",
    "time_mean": "Mean of the logit-normal training times; above 0, more of them lie near noise.",
    "label_smoothing": "How far labels stand from 0 and 1.",
    "activation": "The nonlinearity, by diffusers' name.",
}
"""Help for names that mean the same everywhere, where the source says nothing beneath them."""


@dataclass(frozen=True)
class Option:
    """One leaf of a recipe: what `--set KEY=VALUE` may change."""

    key: str
    """Dotted, from the recipe's root."""
    type: str
    """For people: "whole number", "number", "text", "yes or no", "list of 2 numbers", "one of fast, faithful"."""
    default: str
    """As one would type it."""
    help: str
    choices: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**dataclasses.asdict(self), "choices": list(self.choices)}


@cache
def options(recipe: str) -> tuple[Option, ...]:
    """All of a recipe's options in the order of its dataclasses. Raises UnknownNameError ("did you mean")."""
    from wovr_core import recipes  # brings torch: seconds

    whole = recipes.get(recipe)
    return tuple(o for o in walk(type(whole), to_dict(whole, whole=True)) if o.key != "name")


def search(found: tuple[Option, ...], text: str, limit: int = 30) -> list[Option]:
    """Options whose key, help or type holds every word of `text`; keys first, then close spellings of a key."""
    words = text.casefold().split()
    by_key = [o for o in found if all(word in o.key for word in words)]
    by_help = [o for o in found if o not in by_key and all(w in f"{o.key} {o.help} {o.type}".casefold() for w in words)]
    chosen = [*by_key, *by_help]
    if not chosen:
        close = set(difflib.get_close_matches(text, [o.key for o in found], n=5, cutoff=0.5))
        last = {o.key.rsplit(".", 1)[-1] for o in found}
        near = set(difflib.get_close_matches(text.rsplit(".", 1)[-1], list(last), n=3, cutoff=0.6))
        chosen = [o for o in found if o.key in close or o.key.rsplit(".", 1)[-1] in near]
    return chosen[:limit]


def walk(kind: type, values: dict[str, Any], prefix: str = "", above: str = "") -> Iterator[Option]:
    """The leaves of a configuration; `prefix` begins their keys, `above` is the help where they have none."""
    hints, docs = get_type_hints(kind), _attribute_docs(kind)
    for field in dataclasses.fields(kind):
        hint, key = hints[field.name], prefix + field.name
        text = docs.get(field.name, "")
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            inner = concrete(hint, values[field.name])
            yield from walk(inner, values[field.name], key + ".", text or _summary(inner))
        else:
            shown = values[field.name]
            default = shown if isinstance(shown, str) else json.dumps(shown)
            choices = tuple(str(c) for c in get_args(hint)) if get_origin(hint) is Literal else ()
            yield Option(key, _type_name(hint), default, text or _COMMON.get(field.name) or above, choices)


@cache
def _attribute_docs(kind: type) -> dict[str, str]:
    """Field name -> the string that stands beneath it in the source, on one line; inherited ones too."""
    docs: dict[str, str] = {}
    for owner in reversed(kind.__mro__):
        if not dataclasses.is_dataclass(owner):
            continue
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(owner)))
        except (OSError, SyntaxError):  # no sources beside an installed package: help is a luxury
            continue
        body = getattr(tree.body[0], "body", [])
        for line, following in itertools.pairwise(body):
            if (
                isinstance(line, ast.AnnAssign)
                and isinstance(line.target, ast.Name)
                and isinstance(following, ast.Expr)
                and isinstance(following.value, ast.Constant)
                and isinstance(following.value.value, str)
            ):
                docs[line.target.id] = " ".join(following.value.value.split())
    return docs


def _summary(kind: type) -> str:
    """The first line of a dataclass's own docstring; the one that dataclasses make up is none."""
    doc = kind.__doc__ or ""
    return "" if doc.startswith(f"{kind.__name__}(") else doc.strip().split("\n")[0]


def _type_name(hint: Any) -> str:
    simple = {int: "whole number", float: "number", str: "text", bool: "yes or no (true, false)"}
    if hint in simple:
        return simple[hint]
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(map(str, inner))
    if origin is tuple:
        parts = [part for part in inner if part is not Ellipsis]
        plural = {int: "whole numbers", float: "numbers", str: "texts"}.get(parts[0], "values") if parts else "values"
        return f"list of {plural}" if Ellipsis in inner else f"list of {len(parts)} {plural}"
    if origin in (Union, types.UnionType):
        named = [_type_name(part) for part in inner if part is not type(None)]
        return " or ".join(named) + (" or null" if type(None) in inner else "")
    return getattr(hint, "__name__", str(hint))
