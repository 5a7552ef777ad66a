"""LIBERO as an environment of ours: seeded resets, exact replay, pictures in one convention.

Physics, controller and success predicate are LIBERO's own, to the same bits as its own `step` (a test holds
them to it). One thing differs on purpose: pictures, predicate and poses are computed *at* the rest state after
a step, whereas robosuite shows the state one physics step (2 ms) earlier. So a frame is a function of the
saved state, and `restore` returns the very frame that was recorded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from wovr_core import plugins
from wovr_core.config import Pluggable
from wovr_core.envs import gl, libero_render, libero_state, libero_suites, libero_views
from wovr_core.envs.base import StepResult
from wovr_core.envs.layered_renderer import LayeredRenderer
from wovr_core.envs.libero_control import ArmControl
from wovr_core.envs.libero_parts import Part, PartIndex
from wovr_core.envs.libero_render import Profile
from wovr_core.envs.libero_scene import SceneIndex
from wovr_core.envs.libero_streams import StreamCamera, check_streams
from wovr_core.errors import UnknownNameError, WovrError
from wovr_core.types import ACTION_DIM, NULL_ACTION, FloatArray, Frames, StateArray, TaskId

EVALUATION_STATES = 50
AT_REST = 0.02
"""Speed (m/s) below which an object counts as lying still: a millimetre a step."""
FALLING_STEPS = 40
"""A training start waits at most so much longer for objects that still fall: in living rooms from over a metre."""


@dataclass(frozen=True)
class LiberoConfig(Pluggable):
    """Which scenes, and how they are seen. Hashable: pools keep environments by it."""

    plugin_group: ClassVar[str] = plugins.ENVIRONMENTS
    own_kind: ClassVar[str] = "libero"

    suite: str = "libero_object"
    """libero_spatial, libero_object, libero_goal, libero_10 (LIBERO-Long) or libero_90."""
    size: int = 64
    """H = W of the frames, in pixels."""
    profile: Profile = "fast"
    """"fast": in layers, moving things of fewer triangles; "reference": as LIBERO ships. Same physics."""
    camera: str = "agentview"
    """A camera of the scene: LIBERO's policies look through "agentview", which stands opposite the arm."""
    view: str = "full"
    """Which part of the camera's picture: "full"; or "workspace", made for LIBERO-Object: what the arm reaches."""
    settle_steps: int = 10
    """Steps of NULL_ACTION after each reset. Resets leave the gripper half open and objects a little above
    the ground; four steps open the gripper's command fully, and by ten the objects lie still. OpenVLA's
    evaluation waits ten as well."""
    joint_noise: float = 0.02
    """Deviation (rad, Gaussian) of each arm joint at a training start: that of LIBERO's evaluation states."""
    streams: tuple[str, ...] = ()
    """What is drawn and stored beside the frame: any of "wrist", "depth", "segmentation"."""

    def __post_init__(self) -> None:
        if self.suite not in libero_suites.SUITES:
            raise UnknownNameError("suite", self.suite, libero_suites.SUITES)
        libero_render.check_profile(self.profile)
        libero_views.find_view(self.view)
        check_streams(self.streams)
        if not 16 <= self.size <= 1024:
            raise WovrError(f"frame size {self.size} is out of range; 16 to 1024 pixels")
        if self.settle_steps < 0:
            raise WovrError(f"settle_steps {self.settle_steps} is negative")
        if not 0 <= self.joint_noise <= 0.2:
            raise WovrError(f"joint_noise {self.joint_noise} is out of range; 0 to 0.2 rad")


class LiberoEnv:
    """One task of one suite. See `wovr_core.envs.base.Env` for the protocol.

    Raises (building):
        UnknownNameError: no such suite or task.
        MissingDependencyError: no OpenGL.
    """

    def __init__(self, config: LiberoConfig, task_index: int) -> None:
        self.config = config
        self._task = libero_suites.task_id(config.suite, task_index)
        gl.prepare()
        import mujoco

        self._mujoco = mujoco
        self._domain: Any = libero_suites.build_domain(config.suite, task_index, config.profile)
        self.model: mujoco.MjModel = self._domain.sim.model._model
        self.data: mujoco.MjData = self._domain.sim.data._data
        libero_views.apply_view(self.model, config.camera, libero_views.find_view(config.view))
        self._renderer = self.make_renderer(config.size)
        # robosuite hides the gripper's markers in its reset only; a restored env may never see one.
        self._domain.visualize(dict.fromkeys(self._domain._visualizations, False))
        self._layout = libero_state.StateLayout.of(str(self._task), self._domain)
        self._scene = SceneIndex(self._domain)
        self._parts = PartIndex(self._domain)
        self._streams = StreamCamera(self._domain, self._renderer, config.streams)
        self._arm = ArmControl(self._domain)
        self._success = False
        self._verdicts: dict[tuple[str, ...], bool] = {}  # of the present state, as far as they were asked for

    @property
    def task(self) -> TaskId:
        return self._task

    @property
    def success(self) -> bool:
        """LIBERO's predicate at the present state."""
        return self._success

    @property
    def objects_of_interest(self) -> tuple[str, ...]:
        """The names that the task's definition calls of interest, such as ("alphabet_soup_1", "basket_1")."""
        return tuple(self._domain.obj_of_interest)

    @property
    def goal(self) -> tuple[tuple[str, ...], ...]:
        """Predicates that must all hold, such as (("in", "alphabet_soup_1", "basket_1_contain_region"),)."""
        return tuple(tuple(clause) for clause in self._domain.parsed_problem["goal_state"])

    def holds(self, clause: tuple[str, ...]) -> bool:
        """LIBERO's verdict on one predicate now, such as ("in", "alphabet_soup_1", "basket_1_contain_region")."""
        if clause not in self._verdicts:
            self._verdicts[clause] = bool(self._domain._eval_predicate(list(clause)))
        return self._verdicts[clause]

    def reset(self, seed: int) -> Frames:
        """Draw a training start; a function of the seed alone, whatever happened here before.

        Args:
            seed: any non-negative integer.

        Returns:
            (H, W, 3), the first frame after settling.
        """
        with libero_suites.draws_from(seed):
            self._place()
            # After the placement, as evaluation states are put in: the controller's null space and first
            # rotation goal stay those of the nominal pose.
            self.data.qpos[self._scene.arm] += np.random.randn(len(self._scene.arm)) * self.config.joint_noise
        self._mujoco.mj_forward(self.model, self.data)
        return self._settle(FALLING_STEPS)

    def reset_to_initial(self, index: int) -> Frames:
        """Go to one of LIBERO's 50 evaluation states; where fixtures are drawn (LIBERO leaves them out of
        these states), `index` seeds them.

        Raises:
            WovrError: no such state.
        """
        states = libero_suites.evaluation_states(self.config.suite, self._task.task)
        if not 0 <= index < len(states):
            raise WovrError(f"{self._task} has no evaluation state {index}; 0 to {len(states) - 1}")
        with libero_suites.draws_from(index):
            self._place()
        self._domain.sim.set_state_from_flattened(states[index])
        self._domain.sim.forward()
        return self._settle()

    def sim_state(self) -> StateArray:
        """(S,) f64, all that `restore` needs; see `libero_state` for the layout."""
        return libero_state.save(self._layout, self._domain)

    def restore(self, sim_state: StateArray) -> Frames:
        """Go back to a saved instant, bit for bit: the same actions lead to the same states and frames.

        Raises:
            WovrError: the state is of another task, layout or MuJoCo version.
        """
        libero_state.load(self._layout, self._domain, sim_state)
        self._observe()
        return self.frame()

    def step(self, action: FloatArray) -> StepResult:
        """Execute one raw action (7,) for 50 ms and draw the result.

        Actions are rounded to float32 first, so that what was recorded is what was executed.

        Raises:
            WovrError: the action is not 7 finite numbers.
        """
        success = self.advance(action)
        return StepResult(self.frame(), success)

    def advance(self, action: FloatArray) -> bool:
        """`step` without drawing; returns whether the task's predicate holds now."""
        command = np.asarray(action, dtype=np.float32).astype(np.float64)
        if command.shape != (ACTION_DIM,) or not np.isfinite(command).all():
            raise WovrError(f"an action is {ACTION_DIM} finite numbers, not {np.asarray(action)!r}")
        self._arm.step(command)
        self._observe()
        return self._success

    def frame(self) -> Frames:
        """(H, W, 3) u8 RGB of the present state, in PICTURE_CONVENTION."""
        return np.ascontiguousarray(self._renderer.render(self.data)[::-1, ::-1])

    def make_renderer(self, size: int) -> gl.OffscreenRenderer:
        """Another renderer of the same scene, camera, view and profile; its pictures are upside down. Close it."""
        kind = LayeredRenderer if self.config.profile == "fast" else gl.OffscreenRenderer
        renderer = kind(self.model, self.config.camera, size)
        renderer.option.geomgroup[0] = 0  # collision shapes
        return renderer

    def streams(self) -> dict[str, npt.NDArray[Any]]:
        """The configured streams of the present state, in PICTURE_CONVENTION: "wrist" (H, W, 3) u8 RGB,
        "depth" (H, W) f32 m along the main camera's axis, "segmentation" (H, W) u8 into `segmentation_names`.
        """
        return self._streams.draw(self.data)

    @property
    def segmentation_names(self) -> tuple[str, ...]:
        """What the numbers of a segmentation mean: ("background", "robot", "gripper", "basket_1", ...)."""
        return self._streams.names

    def poses(self) -> dict[str, FloatArray]:
        """(7,) xyz (m) + wxyz of every object and fixture by LIBERO's name, and of the grip site as "eef"."""
        return self._scene.poses(self.data)

    def site_position(self, name: str) -> FloatArray:
        """(3,) position (m) of a site, such as a goal's region "basket_1_contain_region"."""
        return self._scene.site_position(self.data, name)

    def part(self, name: str) -> Part:
        """The moving part of a fixture or of one of its regions, such as "wooden_cabinet_1_top_region"."""
        return self._parts.see(self.model, self.data, name)

    def gripper_width(self) -> float:
        """Distance between the finger pads' joints, in m: 0 closed, 0.08 open."""
        return self._scene.gripper_width(self.data)

    def held_object(self) -> str | None:
        """The movable object that both finger pads touch, or None."""
        return self._scene.held(self.data)

    def touched_objects(self) -> frozenset[str]:
        """The movable objects that some part of the gripper touches."""
        return self._scene.touched(self.data)

    def close(self) -> None:
        """Free the driver's memory; harmless when repeated."""
        self._renderer.close()

    def _place(self) -> None:
        """Draw all placements, as after a rebuild but in a hundredth of the time."""
        domain = self._domain

        def draw() -> None:
            self.model.body_pos[:], self.model.body_quat[:] = domain.compiled_poses
            # robosuite keeps the last episode's gripper command through a reset without rebuild.
            domain.robots[0].gripper.current_action = np.zeros(2)
            domain.reset()

        with libero_suites.without_contacts(self.model):
            libero_suites.retry_placement(draw)

    def _settle(self, longer: int = 0) -> Frames:
        self._observe()
        for step in range(self.config.settle_steps + (longer if self.config.settle_steps else 0)):
            if step >= self.config.settle_steps and self._scene.fastest(self.data) < AT_REST:
                break
            self.advance(NULL_ACTION)
        return self.frame()

    def _observe(self) -> None:
        """Derive poses, contacts, switched-on lights and the predicate from the rest state.

        Only the position stage runs: the warm start of the next step's solver stays as it is.
        """
        self._mujoco.mj_fwdPosition(self.model, self.data)
        self._domain._post_process()
        self._verdicts.clear()
        self._success = bool(self._domain._check_success())
