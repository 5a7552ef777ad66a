"""Page Robot: arm, watch, hold the dead-man key, lay resets over the live picture, label, report.

A robot is there only when the server was started with one (`wovr app --robot NAME`, which sets WOVR_ROBOT); otherwise
the page says how. Evaluations can be looked at and labelled without one. What may be done is decided in
workbench.robot_desk and robots.evaluation; the page's module (apps/assets/robot.js) only asks.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, JSONResponse

from apps.assets_route import asset_url
from apps.pages import PageParts
from apps.pages.asking import AskError, Operation, answer_to, text_of
from apps.pages.component import page_html
from apps.pages.robot_view import plans, row_of, summary
from apps.services import Services
from workbench.robot_desk import DeskConfig, RobotDesk
from workbench.server.roles import ForbiddenError, Role, User
from wovr_core.errors import WovrError
from wovr_core.robots.evaluation.evaluation import Evaluation, attempt_name, evaluation_folder
from wovr_core.robots.evaluation.overlay import png
from wovr_core.robots.evaluation.trials import OPERATOR, VIDEO
from wovr_core.types import Frames

PREFIX = "/wovr/robot"
VARIABLE = "WOVR_ROBOT"
_NO_STORE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class RobotPage:
    """Answers the page's messages. Every answer is an object; one with "error" says what is wrong."""

    def __init__(self, desk: RobotDesk | None) -> None:
        self.desk = desk
        self._operations: dict[str, Operation] = {
            "hello": self._hello,
            "open": self._open,
            "arm": self._arm,
            "ready": self._ready,
            "stop": self._stop,
            "go_on": self._go_on,
            "disarm": self._disarm,
            "label": self._label,
            "exclude": self._exclude,
            "unblind": self._unblind,
            "report": self._report,
        }

    def answer(self, message: object, user: User) -> dict[str, Any]:
        """Never raises at a browser's word."""
        return answer_to(message, user, self._operations)

    def word(self, user: User, message: object) -> dict[str, Any]:
        """The word that comes some times a second from whoever holds the robot; the answer is the desk's view."""
        try:
            if not isinstance(message, Mapping) or not isinstance(message.get("key"), bool):
                raise AskError('send {"token": text, "key": true or false}')
            view = self._desk.alive(text_of(message, "token"), user, message["key"])
            return {"view": asdict(view)}
        except ForbiddenError as error:
            return {"error": str(error), "forbidden": True}
        except WovrError as error:
            return {"error": str(error), "view": asdict(self.desk.view()) if self.desk else None}

    @property
    def _desk(self) -> RobotDesk:
        if self.desk is None:
            raise AskError("this server was started without a robot: wovr app --robot lab")
        return self.desk

    # -- looking

    def _hello(self, user: User, _: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "user": user.name,
            "role": user.role.name.lower(),
            "may_arm": user.may(Role.ROBOT),
            "may_operate": user.may(Role.OPERATOR),
            "may_label": user.may(Role.ANNOTATOR),
            "robot": self.desk.robot if self.desk else None,
            "evaluations": [summary(path.parent.name) for path in plans()],
            "view": asdict(self.desk.view()) if self.desk else None,
            "key_every": DeskConfig().key / 3,
        }

    def _open(self, user: User, message: Mapping[str, Any]) -> dict[str, Any]:
        evaluation = _evaluation(message)
        standing = evaluation.standing()
        blind = standing.unblinded is None
        plan = evaluation.plan
        ended = standing.stopped or standing.abandoned
        return {
            "name": plan.name,
            "task": plan.task.instruction,
            "robot": plan.robot,
            "simulated": plan.simulated,
            "design": plan.protocol.design,
            "policies": [c.name for c in plan.contestants],
            "per_policy": plan.protocol.trials,
            "unblinded": None if standing.unblinded is None else dict(standing.unblinded.body),
            "ended_early": ended.kind if ended else "",
            "missing": evaluation.missing(),
            "digest": evaluation.digest,
            "head": evaluation.log.head(),
            "report": (evaluation.folder / "report.html").is_file(),
            "trials": [
                row_of(trial, "" if blind else evaluation.policy_of(trial.scheduled.number), blind, user)
                for trial in standing.trials
            ],
        }

    # -- moving

    def _arm(self, user: User, message: Mapping[str, Any]) -> dict[str, Any]:
        user.require(Role.ROBOT, "arm a robot")
        return {"token": self._desk.arm(_evaluation(message), user)}

    def _ready(self, user: User, message: Mapping[str, Any]) -> dict[str, Any]:
        self._desk.ready(text_of(message, "token"), user)
        return {}

    def _stop(self, user: User, message: Mapping[str, Any]) -> dict[str, Any]:
        self._desk.stop_trial(text_of(message, "token"), user)
        return {}

    def _go_on(self, user: User, message: Mapping[str, Any]) -> dict[str, Any]:
        self._desk.labelled(text_of(message, "token"), user)
        return {}

    def _disarm(self, user: User, message: Mapping[str, Any]) -> dict[str, Any]:
        self._desk.disarm(text_of(message, "token"), user)
        return {}

    # -- judging

    def _label(self, user: User, message: Mapping[str, Any]) -> dict[str, Any]:
        role = VIDEO if message.get("video") is True else OPERATOR
        user.require(Role.ANNOTATOR if role == VIDEO else Role.OPERATOR, "label a trial")
        if not isinstance(message.get("success"), bool):
            raise AskError("success must be true or false")
        note = text_of(message, "note") if "note" in message else ""
        _evaluation(message).label(_number(message), user.name, message["success"], role, note)
        return {}

    def _exclude(self, user: User, message: Mapping[str, Any]) -> dict[str, Any]:
        user.require(Role.OPERATOR, "exclude a trial")
        _evaluation(message).exclude(_number(message), user.name, text_of(message, "why"))
        return {}

    def _unblind(self, user: User, message: Mapping[str, Any]) -> dict[str, Any]:
        user.require(Role.OPERATOR, "unblind an evaluation")
        _evaluation(message).unblind(user.name)
        return {}

    def _report(self, user: User, message: Mapping[str, Any]) -> dict[str, Any]:
        from workbench.robot_report import write_robot_report

        user.require(Role.OPERATOR, "write a report")
        evaluation = _evaluation(message)
        write_robot_report(evaluation)
        return {"url": f"{PREFIX}/report/{evaluation.folder.name}/"}


def build(services: Services) -> PageParts:
    """The page, inside the Blocks around it."""
    page = RobotPage(_desk_of_environment())
    page_html("robot", services, page.answer, prefix=PREFIX)
    return PageParts(_router(services, page), f'<link rel="stylesheet" href="{asset_url("robot.css")}">')


def _desk_of_environment() -> RobotDesk | None:
    name = os.environ.get(VARIABLE, "").strip()
    if not name:
        return None
    from workbench.robot_arm_station import station_of

    desk = RobotDesk(name, station_of(name))
    atexit.register(desk.close)
    return desk


def _router(services: Services, page: RobotPage) -> APIRouter:
    router = APIRouter()

    @router.post(PREFIX + "/word")
    async def word(request: Request) -> Response:
        try:
            message = await request.json()
        except ValueError:
            return Response("that is no JSON", 400, media_type="text/plain")
        return JSONResponse(page.word(services.user_of(request), message), headers=_NO_STORE)

    @router.get(PREFIX + "/live.png")
    def live(request: Request) -> Response:
        return _picture(page.desk.live() if page.desk else None, services.user_of(request))

    @router.get(PREFIX + "/overlay.png")
    def laid_over(request: Request) -> Response:
        return _picture(page.desk.laid_over() if page.desk else None, services.user_of(request))

    @router.get(PREFIX + "/film/{name}/{trial}")
    def film(name: str, trial: int, request: Request) -> Response:
        services.user_of(request).require(Role.VIEWER, "look at films")
        return _file(lambda e: e.folder / "videos" / f"{attempt_name(trial, len(e.trial(trial).attempts))}.mp4", name)

    @router.get(PREFIX + "/report/{name}/")
    def report(name: str, request: Request) -> Response:
        services.user_of(request).require(Role.VIEWER, "read reports")
        return _file(lambda e: e.folder / "report.html", name)

    @router.get(PREFIX + "/report/{name}/videos/trial-{trial}-{attempt}.mp4")
    def reported_film(name: str, trial: int, attempt: int, request: Request) -> Response:
        services.user_of(request).require(Role.VIEWER, "look at films")
        return _file(lambda e: e.folder / "videos" / f"{attempt_name(trial, attempt)}.mp4", name)

    return router


def _picture(picture: Frames | None, user: User) -> Response:
    user.require(Role.VIEWER, "look at the camera")
    if picture is None:
        return Response("there is no picture at the moment", 404, media_type="text/plain", headers=_NO_STORE)
    return Response(png(picture), media_type="image/png", headers=_NO_STORE)


def _file(where: Callable[[Evaluation], Path], name: str) -> Response:
    try:
        path = where(Evaluation(evaluation_folder(name)))
    except WovrError as error:
        return Response(str(error), 404, media_type="text/plain")
    if not path.is_file():
        return Response("there is no such file", 404, media_type="text/plain")
    return FileResponse(path, headers=_NO_STORE, content_disposition_type="inline")


def _evaluation(message: Mapping[str, Any]) -> Evaluation:
    return Evaluation(evaluation_folder(text_of(message, "name")))


def _number(message: Mapping[str, Any]) -> int:
    value = message.get("trial")
    if isinstance(value, bool) or not isinstance(value, int):
        raise AskError("trial must be a number")
    return value
