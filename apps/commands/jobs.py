"""`wovr jobs`: submit, list, watch, logs, cancel, retry."""

from __future__ import annotations

import argparse
import json
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from apps.jobs_text import job_record, job_time, preflight_text
from apps.parsing import add_assignments
from wovr_core.errors import UnknownNameError, WovrError

if TYPE_CHECKING:
    from workbench.jobs.backend import JobBackend, JobId
    from workbench.jobs.spec import JobSpec, Resources

BACKENDS = ("local", "ray")


def add_commands(commands: Any, common: Any) -> None:
    jobs = commands.add_parser(
        "jobs",
        parents=[common],
        help="run stages in the background, watch, cancel and resume them",
        description="Jobs outlive the terminal, app or notebook that submitted them, wait for free cores and memory, "
        "and go on from their checkpoints after a cancel, a crash or a retry.",
    )
    actions = jobs.add_subparsers(dest="action", required=True, metavar="ACTION")

    submit = _action(actions, common, "submit", _submit, "queue a job; shows first what it will take")
    submit.add_argument("kind", metavar="KIND", help="`pipeline`, a stage, or another kind (see `wovr jobs kinds`)")
    submit.add_argument("--recipe", default=None, help="named configuration (default: demo, for kinds that need one)")
    submit.add_argument("--run", default=None, help="name of the run folder (default: the recipe's name)")
    add_assignments(submit)
    submit.add_argument(
        "--parameter", action="append", default=[], metavar="NAME=VALUE", help="what else the kind takes; repeatable"
    )
    submit.add_argument("--cores", type=int, default=None, help="cores to reserve (default: the recipe's threads)")
    submit.add_argument("--memory", type=int, default=None, metavar="MB", help="memory to reserve")
    submit.add_argument("--gpus", type=int, default=0, help="GPUs to reserve")
    submit.add_argument(
        "--resource", action="append", default=[], metavar="NAME=N", help="other things to reserve, e.g. franka_0123=1"
    )
    submit.add_argument("--priority", type=int, default=0, help="higher goes first, -100 to 100 (default: 0)")
    submit.add_argument("--retries", type=int, default=0, help="start it again this often after a failure")
    submit.add_argument(
        "--key", default=None, help="submitting twice with one key is one job (default: always a new one)"
    )
    submit.add_argument("--dry-run", action="store_true", help="show what it would take; submit nothing")
    submit.add_argument("--follow", action="store_true", help="then print its log until it ends")

    _action(actions, common, "list", _list, "list the jobs, the newest first").add_argument(
        "--all", action="store_true", help="also those that ended more than a week ago"
    )
    _action(actions, common, "kinds", _kinds, "list the kinds of job")
    watch = _action(actions, common, "watch", _watch, "watch them live; leaving stops none of them", json_option=False)
    watch.add_argument("job", nargs="?", default=None, help="id of the job whose log to show (default: the latest)")
    watch.add_argument("--interval", type=float, default=1.0, help="seconds between looks (default: 1)")
    watch.add_argument("--once", action="store_true", help="look once and leave")
    logs = _action(actions, common, "logs", _logs, "print a job's log", json_option=False)
    logs.add_argument("job", help="id, or its beginning")
    logs.add_argument("--follow", "-f", action="store_true", help="go on printing until it ends")
    cancel = _action(actions, common, "cancel", _cancel, "end jobs; they checkpoint first")
    cancel.add_argument("jobs", nargs="+", metavar="job", help="id, or its beginning")
    cancel.add_argument("--no-wait", action="store_true", help="do not wait for the end (it takes 10 s at most)")
    retry = _action(
        actions, common, "retry", _retry, "queue failed or cancelled jobs again; stages go on where they were"
    )
    retry.add_argument("jobs", nargs="+", metavar="job", help="id, or its beginning")


def _action(actions: Any, common: Any, name: str, function: Any, text: str, json_option: bool = True) -> Any:
    parser = actions.add_parser(name, parents=[common], help=text, description=text[0].upper() + text[1:] + ".")
    parser.add_argument("--backend", default="local", help="where: local (default) or ray")
    if json_option:
        parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(function=function)
    return parser


def open_backend(name: str) -> JobBackend:
    """Raises UnknownNameError, MissingDependencyError (the extra `ray`)."""
    if name == "local":
        from workbench.jobs.local import LocalBackend

        return LocalBackend()
    if name == "ray":
        from workbench.jobs.ray_backend import RayBackend

        return RayBackend()
    raise UnknownNameError("backend", name, BACKENDS)


# -- submit


def _submit(arguments: argparse.Namespace) -> int:
    from workbench.jobs.backend import follow_lines
    from workbench.jobs.preflight import preflight

    backend = open_backend(arguments.backend)
    spec = _spec(arguments)
    found = preflight(spec, here=arguments.backend == "local")
    if not arguments.json:
        print(preflight_text(found))
    if arguments.dry_run:
        if arguments.json:
            print(json.dumps({"spec": spec.to_json(), "preflight": asdict(found)}, indent=2))
        return 1 if found.refusals else 0
    found.check()
    job = backend.submit(spec, arguments.key or uuid.uuid4().hex)
    status = backend.status(job)
    if arguments.json:
        print(json.dumps({**job_record(status), "preflight": asdict(found)}, indent=2))
    else:
        print(f"\njob {job} is {status.state}" + (f": {status.reason}" if status.reason else ""))
        print(f"watch it:  wovr jobs watch {job}\nits log:   wovr jobs logs -f {job}")
    if arguments.follow:
        for line in follow_lines(backend, job):
            print(line, flush=True)
        return 0 if backend.status(job).state == "succeeded" else 1
    return 0


def _spec(arguments: argparse.Namespace) -> JobSpec:
    from workbench.jobs.kinds import find_kind
    from workbench.jobs.spec import JobSpec

    recipe = arguments.recipe or ("demo" if find_kind(arguments.kind).recipe else "")
    run = arguments.run or recipe
    if not run:
        raise WovrError(f"a {arguments.kind} job needs --run, the name of a run")
    return JobSpec(
        kind=arguments.kind,
        run=run,
        recipe=recipe,
        overrides=tuple(arguments.assignments),
        parameters=_pairs(arguments.parameter, "--parameter"),
        resources=_resources(arguments, recipe),
        priority=arguments.priority,
        retries=arguments.retries,
    )


def _resources(arguments: argparse.Namespace, recipe: str) -> Resources:
    from workbench.jobs.spec import Resources
    from workbench.launching.drafts import DEFAULT_MEMORY_MB, cores_of
    from wovr_core import recipes
    from wovr_core.config import override

    cores, memory = arguments.cores, arguments.memory
    if cores is None:
        cores = cores_of(override(recipes.get(recipe), arguments.assignments)) if recipe else 1
    custom = _pairs(arguments.resource, "--resource")
    return Resources(cores, DEFAULT_MEMORY_MB if memory is None else memory, arguments.gpus, custom)


def _pairs(texts: Sequence[str], option: str) -> dict[str, Any]:
    pairs = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise WovrError(f"{option} {text!r} is not of the form NAME=VALUE")
        try:
            pairs[name] = json.loads(value)
        except ValueError:
            pairs[name] = value
    return pairs


# -- the others


def _list(arguments: argparse.Namespace) -> int:
    statuses = open_backend(arguments.backend).list()
    if not arguments.all:
        since = time.time() - 7 * 86400
        statuses = [s for s in statuses if not s.state.ended or (s.ended_at or s.submitted_at) > since]
    if arguments.json:
        print(json.dumps([job_record(status) for status in statuses], indent=2))
        return 0
    if not statuses:
        print("no jobs; submit one with `wovr jobs submit pipeline --recipe demo`")
    for s in statuses:
        what = f"{s.spec.kind} {s.spec.recipe}".strip()
        print(f"{s.id}  {s.state:9s}  {job_time(s):>7s}  {what:24s}  {s.spec.run:20s}  {s.reason}".rstrip())
    return 0


def _kinds(arguments: argparse.Namespace) -> int:
    from workbench.jobs.kinds import kinds

    found = kinds()
    if arguments.json:
        print(json.dumps({name: kind.what for name, kind in found.items()}, indent=2))
        return 0
    for name, kind in found.items():
        print(f"{name:22s} {kind.what}")
    return 0


def _watch(arguments: argparse.Namespace) -> int:
    from apps.jobs_screen import watch

    backend = open_backend(arguments.backend)
    job = _find(backend, arguments.job) if arguments.job else None
    watch(backend, job, interval=arguments.interval, once=arguments.once)
    return 0


def _logs(arguments: argparse.Namespace) -> int:
    from workbench.jobs.backend import follow

    backend = open_backend(arguments.backend)
    job, offset = _find(backend, arguments.job), 0
    if arguments.follow:
        for chunk in follow(backend, job):
            sys.stdout.write(chunk.text)
            sys.stdout.flush()
        return 0
    while (chunk := backend.logs(job, offset)).next_offset > offset:
        sys.stdout.write(chunk.text)
        offset = chunk.next_offset
    return 0


def _cancel(arguments: argparse.Namespace) -> int:
    from workbench.jobs.backend import wait

    backend = open_backend(arguments.backend)
    jobs = [_find(backend, text) for text in arguments.jobs]
    for job in jobs:
        backend.stop(job)
    for job in () if arguments.no_wait else jobs:
        wait(backend, job, timeout=30)
    _say(backend, jobs, as_json=arguments.json)
    return 0


def _retry(arguments: argparse.Namespace) -> int:
    backend = open_backend(arguments.backend)
    jobs = [_find(backend, text) for text in arguments.jobs]
    for job in jobs:
        backend.retry(job)
    _say(backend, jobs, as_json=arguments.json)
    return 0


def _say(backend: JobBackend, jobs: Sequence[JobId], as_json: bool) -> None:
    statuses = [backend.status(job) for job in jobs]
    if as_json:
        print(json.dumps([job_record(status) for status in statuses], indent=2))
        return
    for status in statuses:
        print(f"job {status.id} is {status.state}" + (f": {status.reason}" if status.reason else ""))


def _find(backend: JobBackend, text: str) -> JobId:
    from workbench.jobs.backend import find

    return find(backend, text)
