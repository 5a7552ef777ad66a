"""`wovr users`: who may sign in to `wovr app`. Passwords come from a prompt or standard input, never from argv."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from wovr_core.errors import WovrError

ROLES = "viewer, annotator, operator or robot"


def add_commands(commands: Any, common: Any) -> None:
    users = commands.add_parser(
        "users",
        parents=[common],
        help="who may sign in to `wovr app`, and in which role",
        description="Accounts lie in WOVR_HOME/users.json, their passwords as argon2id hashes. A viewer looks, an "
        "annotator flags, an operator launches jobs and decides, a robot user may arm a robot; each may do what those "
        "before may. Changes count at once and end the user's sessions.",
    )
    verbs = users.add_subparsers(dest="verb", required=True, metavar="VERB")

    add = verbs.add_parser("add", parents=[common], help="make an account; asks for its password")
    _name(add)
    add.add_argument("--role", required=True, help=ROLES)
    _stdin(add)
    add.set_defaults(function=_add)

    password = verbs.add_parser("password", parents=[common], help="give a user another password")
    _name(password)
    _stdin(password)
    password.set_defaults(function=_password)

    role = verbs.add_parser("role", parents=[common], help="give a user another role")
    _name(role)
    role.add_argument("role", metavar="ROLE", help=ROLES)
    role.set_defaults(function=_role)

    remove = verbs.add_parser("remove", parents=[common], help="end an account")
    _name(remove)
    remove.set_defaults(function=_remove)

    listing = verbs.add_parser("list", parents=[common], help="all accounts and their roles")
    listing.set_defaults(function=_list)


def _name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="what the user signs in as")


def _stdin(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--password-stdin", action="store_true", help="read the password from standard input's 1st line"
    )


def _add(arguments: argparse.Namespace) -> int:
    from workbench.server.accounts import Accounts, role_named

    accounts, role = Accounts(), role_named(arguments.role)
    account = accounts.add(arguments.name, _asked(arguments), role)
    _log("user added", account.name, role=role.name.lower())
    print(f"{account.name} may sign in as {role.name.lower()}: wovr app --auth")
    return 0


def _password(arguments: argparse.Namespace) -> int:
    from workbench.server.accounts import Accounts

    account = Accounts().set_password(arguments.name, _asked(arguments))
    _log("password changed", account.name)
    print(f"{account.name} has another password; open sessions have ended")
    return 0


def _role(arguments: argparse.Namespace) -> int:
    from workbench.server.accounts import Accounts, role_named

    account = Accounts().set_role(arguments.name, role_named(arguments.role))
    _log("role changed", account.name, role=account.role.name.lower())
    print(f"{account.name} is {account.role.name.lower()} now; open sessions have ended")
    return 0


def _remove(arguments: argparse.Namespace) -> int:
    from workbench.server.accounts import Accounts

    Accounts().remove(arguments.name)
    _log("user removed", arguments.name)
    print(f"{arguments.name} cannot sign in any more")
    return 0


def _list(_: argparse.Namespace) -> int:
    from workbench.server.accounts import Accounts

    accounts = Accounts().all()
    if not accounts:
        print("nobody yet; make an account: wovr users add NAME --role operator")
    for account in accounts:
        print(f"{account.name:24s} {account.role.name.lower():10s} since {account.made}")
    return 0


def _asked(arguments: argparse.Namespace) -> str:
    """The password. Raises WovrError when there is none, or the two typed differ."""
    if arguments.password_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise WovrError("there is no terminal to ask for a password; give it on standard input with --password-stdin")
    import getpass

    first = getpass.getpass(f"Password for {arguments.name}: ")
    if getpass.getpass("Again: ") != first:
        raise WovrError("the two passwords differ; nothing was changed")
    return first


def _log(what: str, name: str, **details: str) -> None:
    from workbench.server.audit_log import AuditLog
    from workbench.server.roles import system_user

    AuditLog().write(system_user(), what, user=name, **details)
