"""`wovr plugins`: what other packages add, and whether it loads."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from types import FunctionType
from typing import Any

from wovr_core import plugins


def add_commands(commands: Any, common: Any) -> None:
    parser = commands.add_parser(
        "plugins",
        parents=[common],
        help="what other packages add: policies, environments, world models, formats, pages, recipes",
        description="Lists the installed plug-ins and tries to load each. Exit code 1 if one cannot be used; the "
        "others work all the same.",
    )
    parser.add_argument("--json", action="store_true", help="print the list as JSON")
    parser.set_defaults(function=_plugins)


def _plugins(arguments: argparse.Namespace) -> int:
    rows = [
        {
            "group": info.group,
            "name": info.name,
            "package": f"{info.package} {info.version}",
            "target": info.target,
            "problem": problem,
        }
        for info, problem in examine()
    ]
    if arguments.json:
        print(json.dumps(rows, indent=2))
    elif not rows:
        print(f"no plug-ins are installed; a package brings them as entry points of {', '.join(plugins.GROUPS)}")
    for row in rows if not arguments.json else ():
        print(f"{'BAD' if row['problem'] else 'ok '} {row['group']:18s} {row['name']:14s} {row['package']}")
        if row["problem"]:
            print(f"    {row['problem']}")
    return int(any(row["problem"] for row in rows))


def examine() -> Iterator[tuple[plugins.PluginInfo, str]]:
    """Each plug-in and what is wrong with it, if anything."""
    for group in plugins.GROUPS:
        for info in plugins.installed(group):
            try:
                plugins.find(group, info.name)
                info.load(_kind(group))
                yield info, ""
            except plugins.PluginError as error:
                yield info, str(error)


def _kind(group: str) -> type:
    """What the entry points of a group have to be."""
    if group == plugins.POLICIES:
        from wovr_core.policy.base import PolicyPlugin

        return PolicyPlugin
    if group == plugins.ENVIRONMENTS:
        from wovr_core.envs.base import EnvironmentPlugin

        return EnvironmentPlugin
    if group == plugins.WORLD_MODELS:
        from wovr_core.world_model.world_models import WorldModelPlugin

        return WorldModelPlugin
    if group == plugins.PAGES:
        from apps.pages import PageInfo

        return PageInfo
    return type if group == plugins.FORMATS else FunctionType
