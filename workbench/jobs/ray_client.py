"""Ray's job server over its REST API (https://docs.ray.io/en/latest/cluster/running-applications/job-submission/rest.html).

Ray's own JobSubmissionClient is not used: it waits without end for a head that hangs, lets RAY_ADDRESS override
the address it is given, and takes seconds to import.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.jobs.queue import Capacity, Place
from wovr_core.errors import MissingDependencyError, WovrError

_PAUSES = (0.5, 2.0)
"""Seconds before a submission is tried again."""


CLUSTER = Place(
    name="the largest node of the Ray cluster",
    more="add a larger node",
    nobody="no node of the Ray cluster has",
    have="they have",
    custom="start the node that it is attached to with --resources='{{\"{name}\": {amount}}}'",
)
"""For refusals of `Capacity`: a job runs on one node."""


class RayError(WovrError):
    """The cluster refused a request."""


class RayUnreachableError(RayError):
    """The cluster does not answer, or not in time: nothing is known about what was asked."""


class RayAuthError(RayError):
    """The cluster takes requests without a token, or refuses ours."""


@dataclass(frozen=True)
class Submission:
    """A job as it is handed to Ray."""

    id: str
    entrypoint: str
    env_vars: Mapping[str, str] = field(default_factory=dict)
    cores: int = 1
    memory_mb: int = 0
    gpus: int = 0
    custom: Mapping[str, int] = field(default_factory=dict)

    def request(self) -> dict[str, Any]:
        """Nothing is uploaded: code and data lie on a file system that all nodes share."""
        return {
            "submission_id": self.id,
            "entrypoint": self.entrypoint,
            "runtime_env": {"env_vars": dict(self.env_vars)},
            "entrypoint_num_cpus": self.cores,
            "entrypoint_num_gpus": self.gpus,
            "entrypoint_memory": self.memory_mb << 20,
            "entrypoint_resources": dict(self.custom),
        }


@dataclass(frozen=True)
class RayJob:
    """What Ray says of a job."""

    id: str
    status: str
    """PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED."""
    message: str

    @property
    def ended(self) -> bool:
        return self.status not in ("PENDING", "RUNNING")


class RayClient:
    """Requests with time limits and a token.

    Args:
        address: http(s)://HOST:PORT of the head's dashboard.
        token: of the cluster.
        timeout: seconds for one request.
    """

    def __init__(self, address: str, token: str, timeout: float = 10.0) -> None:
        try:
            import requests
        except ImportError as error:
            raise MissingDependencyError("requests is not installed; pip install 'wovr-workbench[ray]'") from error
        if not address.startswith(("http://", "https://")):
            raise WovrError(f"the address {address!r} of the Ray cluster is not of the form http://HOST:8265")
        self.address = address.rstrip("/")
        self.timeout = timeout
        self._requests = requests
        self._headers = {"Authorization": f"Bearer {token}"}
        self._guarded = False

    def require_token_auth(self) -> None:
        """Raises RayAuthError when the cluster answers those who have no token. Asked once."""
        if self._guarded:
            return
        answer = self._request("GET", "/api/jobs/", headers={})
        if answer.status_code not in (401, 403):
            raise RayAuthError(
                f"the Ray cluster at {self.address} answers without a token: whoever reaches it can run programs "
                "there. Start its nodes with RAY_AUTH_MODE=token (`ray get-auth-token --generate` makes a token)"
            )
        self._guarded = True

    def submit(self, submission: Submission) -> None:
        """Hand a job over, once: a submission whose answer was lost is looked up and adopted, not repeated.

        Raises:
            RayUnreachableError: Ray could not be asked whether it has the job; submitting again is safe.
            RayError: Ray refused it.
        """
        self.require_token_auth()
        for pause in (*_PAUSES, None):
            try:
                answer = self._request("POST", "/api/jobs/", json=submission.request())
                if answer.status_code == 200:
                    return
                failure: RayError = RayError(f"Ray refused the job: {_first_line(answer.text)}")
            except RayUnreachableError as error:
                failure = error
            try:
                if self.job(submission.id) is not None:
                    return
            except RayUnreachableError as error:
                failure = error
            if pause is None or not isinstance(failure, RayUnreachableError):
                raise failure
            time.sleep(pause)

    def job(self, submission_id: str) -> RayJob | None:
        """None when Ray has no such job."""
        answer = self._request("GET", f"/api/jobs/{submission_id}")
        if answer.status_code == 404:
            return None
        found = self._json(answer)
        return RayJob(submission_id, str(found["status"]), str(found.get("message") or ""))

    def stop(self, submission_id: str) -> None:
        """Ask Ray to end a job; harmless when it has ended or is not known."""
        answer = self._request("POST", f"/api/jobs/{submission_id}/stop")
        if answer.status_code not in (200, 404):
            raise RayError(f"Ray would not stop {submission_id}: {_first_line(answer.text)}")

    def capacity(self) -> Capacity:
        """What the largest node has of each thing: a job runs on one node."""
        found = self._json(self._request("GET", "/api/v0/nodes?detail=1&limit=1000"))
        nodes = [n["resources_total"] for n in found["data"]["result"]["result"] if n["state"] == "ALIVE"]

        def most(name: str) -> float:
            return max((node.get(name, 0.0) for node in nodes), default=0.0)

        usual = ("CPU", "GPU", "memory", "object_store_memory", "node:", "accelerator_type:")
        names = {name for node in nodes for name in node if not name.startswith(usual)}
        custom = {name: int(most(name)) for name in sorted(names)}
        return Capacity(int(most("CPU")), int(most("memory")) >> 20, int(most("GPU")), custom)

    def _json(self, answer: Any) -> Any:
        if answer.status_code != 200:
            raise RayError(f"Ray answered {answer.status_code}: {_first_line(answer.text)}")
        return answer.json()

    def _request(self, method: str, path: str, **given: Any) -> Any:
        headers = given.pop("headers", self._headers)
        try:
            answer = self._requests.request(
                method, self.address + path, headers=headers, timeout=self.timeout, allow_redirects=False, **given
            )
        except self._requests.RequestException as error:
            raise RayUnreachableError(
                f"the Ray cluster at {self.address} does not answer ({type(error).__name__})"
            ) from error
        if headers and answer.status_code in (401, 403):
            raise RayAuthError(
                f"the Ray cluster at {self.address} does not take this token; "
                "set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to the one its nodes were started with"
            )
        return answer


def read_token(environment: Mapping[str, str] | None = None) -> str:
    """The token from RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token, as Ray itself looks for it.

    Raises RayAuthError when RAY_AUTH_MODE says that there is none, or none is found.
    """
    environment = os.environ if environment is None else environment
    mode = environment.get("RAY_AUTH_MODE", "token")
    if mode != "token":
        raise RayAuthError(f"RAY_AUTH_MODE is {mode!r}; jobs go to clusters with RAY_AUTH_MODE=token only")
    if token := environment.get("RAY_AUTH_TOKEN", "").strip():
        return token
    path = Path(environment.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    try:
        return path.read_text().strip()
    except OSError as error:
        raise RayAuthError(
            f"no token for the Ray cluster: set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH, or put it into {path}"
        ) from error


def _first_line(text: str) -> str:
    """The line of a traceback that says it."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no reason given"
