"""Pictures in layers: what stands still is drawn once, each frame draws only what moves.

The camera of a LIBERO scene is fixed, and most of what it sees is welded to the world: room, table, the arm's
base, the bodies of cabinets and stoves. That layer is drawn when a pose, a colour, a light or the camera in it
has changed (fixtures do at a reset), in two ways: as the stock renderer draws it, multisampled, and with four
samples a pixel beside each other and their depth. A frame then draws the rest, at four samples a pixel, onto the
latter; pixels that nothing of it covers come from the former. So a frame is a function of the simulator's state
alone, as ever, and smooth at the edges, which multisampling every frame on a CPU would cost more than all else.

Glass (a microwave's door) is a layer of its own, mixed over the others; of two panes the nearer is shown. Moving
things are not mirrored in still ones.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from wovr_core.envs.gl import OffscreenRenderer, current_context
from wovr_core.types import FloatArray, Frames, IntArray

if TYPE_CHECKING:
    import mujoco

STOCK_SAMPLES = 4
"""Samples a pixel of MuJoCo's (and so of LIBERO's) multisampling."""
GRID = 2
"""Our samples lie GRID x GRID in a pixel."""
_HIDDEN = 5
"""A geom group that neither LIBERO nor MuJoCo's defaults show."""


@dataclass(frozen=True)
class Pane:
    """Geoms of one opacity below 1."""

    opacity: float
    """Of the whole: MuJoCo draws the far sides of see-through shapes too, so that one looks through two."""
    geoms: IntArray


class LayeredRenderer(OffscreenRenderer):
    """An OffscreenRenderer whose pictures are smooth and cheap. Poses and colours must be up to date in `data`."""

    def __init__(self, model: mujoco.MjModel, camera: str, size: int, max_geoms: int = 2000) -> None:
        # the buffer's kind is chosen when the drawing data is made; only from a multisampled one can it change
        model.vis.quality.offsamples = STOCK_SAMPLES
        super().__init__(model, camera, size, max_geoms)
        self.scn.flags[self._mujoco.mjtRndFlag.mjRND_SHADOW] = 0
        still_body = np.asarray(model.body_weldid) == 0
        self._still_geoms = np.flatnonzero(still_body[model.geom_bodyid])
        self._still_sites = np.flatnonzero(still_body[model.site_bodyid])
        self._camera_stands = bool(still_body[model.cam_bodyid[self.camera.fixedcamid]])
        self._key = b""
        self._glass: list[Pane] = []
        self._still_geoms_seen: tuple[bytes, IntArray, FloatArray] | None = None
        self._stock = self._fine = Image.new("RGB", (1, 1))
        self._fine_depth = np.empty((GRID * size, GRID * size), dtype=np.float32)
        self._set_buffer(GRID * size, samples=0)

    def render(self, data: mujoco.MjData, camera: str | None = None) -> Frames:
        """As OffscreenRenderer's; cameras that move are drawn whole each time, at GRID x GRID samples a pixel."""
        if camera is not None or not self._camera_stands:
            return self._render_whole(data, self._fixed_camera(camera) if camera else self.camera)
        key = self._look(data)
        if key != self._key:
            self._glass = _panes(self._model, self.option)
            with self._hidden(self._all_glass()):
                self._draw_still_layer(data)
            self._key = key
        moving = self._mujoco.mjtCatBit.mjCAT_DYNAMIC | self._mujoco.mjtCatBit.mjCAT_DECOR
        with self._hidden(np.concatenate([self._all_glass(), np.flatnonzero(self._out_of_view(data))])):
            layers = [(1.0, *self._draw_layer(data, moving))]
        for pane in self._glass:
            with self._alone(pane):
                layers.append((pane.opacity, *self._draw_layer(data, self._mujoco.mjtCatBit.mjCAT_ALL)))
        return self._compose(layers)

    def render_geoms(self, data: mujoco.MjData, categories: int | None = None) -> tuple[IntArray, FloatArray]:
        """As OffscreenRenderer's; what stands still is looked up."""
        if categories is not None or not self._camera_stands:
            return super().render_geoms(data, categories)
        m, key = self._mujoco, self._look(data)
        if self._still_geoms_seen is None or key != self._still_geoms_seen[0]:
            self._still_geoms_seen = (key, *super().render_geoms(data, m.mjtCatBit.mjCAT_STATIC))
        _, still, still_depth = self._still_geoms_seen
        geoms, depth = super().render_geoms(data, m.mjtCatBit.mjCAT_DYNAMIC | m.mjtCatBit.mjCAT_DECOR)
        nearer = depth < still_depth
        return np.where(nearer, geoms, still), np.where(nearer, depth, still_depth)

    def _render_whole(self, data: mujoco.MjData, camera: mujoco.MjvCamera) -> Frames:
        colour = np.empty((GRID * self.size, GRID * self.size, 3), dtype=np.uint8)
        with _coarser_textures():
            self._draw(data, camera, colour)
        return np.array(Image.fromarray(colour).reduce(GRID))

    def _draw_layer(self, data: mujoco.MjData, categories: int) -> tuple[Frames, FloatArray]:
        """Colour (fine, fine, 3) and depth (fine, fine) of some things alone, 0 where there are none of them."""
        colour = np.empty((GRID * self.size, GRID * self.size, 3), dtype=np.uint8)
        depth = np.empty(colour.shape[:2], dtype=np.float32)
        flags = self._mujoco.mjtRndFlag
        with self._flags({flags.mjRND_SKYBOX: 0, flags.mjRND_REFLECTION: 0}), _coarser_textures():
            self._draw(data, self.camera, colour, depth, categories)
        return colour, depth

    def _compose(self, layers: list[tuple[float, Frames, FloatArray]]) -> Frames:
        """Layers (opacity, colour, depth) over the still one, each where it is nearer than all before it."""
        front, seen = self._fine_depth, []
        for _, _, depth in layers:
            seen.append(depth > front)  # 1 at the near plane, 0 at the far one
            front = np.maximum(front, depth)
        union = _mask(np.logical_or.reduce(seen))
        picture = self._stock.copy()
        touched = union.getbbox()
        if touched is not None:
            left, top = (side // GRID * GRID for side in touched[:2])
            right, bottom = (-(-side // GRID) * GRID for side in touched[2:])
            box = (left, top, right, bottom)
            patch = self._fine.crop(box)
            for (opacity, colour, _), nearer in zip(layers, seen, strict=True):
                over = Image.fromarray(colour).crop(box)
                patch.paste(over if opacity == 1 else Image.blend(patch, over, opacity), mask=_mask(nearer).crop(box))
            covered = union.crop(box).reduce(GRID).point(lambda share: 255 if share else 0)
            picture.paste(patch.reduce(GRID), (left // GRID, top // GRID), covered)
        return np.array(picture)

    def _draw_still_layer(self, data: mujoco.MjData) -> None:
        still = self._mujoco.mjtCatBit.mjCAT_STATIC
        self._set_buffer(self.size, STOCK_SAMPLES)
        stock = np.empty((self.size, self.size, 3), dtype=np.uint8)
        self._draw(data, self.camera, stock, None, still)
        fine = np.empty((GRID * self.size, GRID * self.size, 3), dtype=np.uint8)
        self._set_buffer(len(fine), samples=0)
        with _coarser_textures():
            self._draw(data, self.camera, fine, self._fine_depth, still)
        self._stock, self._fine = Image.fromarray(stock), Image.fromarray(fine)

    def _all_glass(self) -> IntArray:
        return np.concatenate([np.zeros(0, dtype=np.int64), *(pane.geoms for pane in self._glass)])

    def _out_of_view(self, data: mujoco.MjData) -> npt.NDArray[np.bool_]:
        """(ngeom,) whose bounding sphere lies beside the camera's pyramid: half of the arm, often. OpenGL would
        find out vertex by vertex."""
        index, lens = self.camera.fixedcamid, self.scn.camera[0]
        place = (data.geom_xpos - data.cam_xpos[index]) @ data.cam_xmat[index].reshape(3, 3)
        half = lens.frustum_width or (lens.frustum_top - lens.frustum_bottom) / 2
        limits = np.array(
            [lens.frustum_center + half, half - lens.frustum_center, lens.frustum_top, -lens.frustum_bottom]
        )
        slopes = limits / lens.frustum_near  # of the right, left, upper and lower side
        sideways = np.stack([place[:, 0], -place[:, 0], place[:, 1], -place[:, 1]])  # (4, ngeom)
        outside = (sideways + slopes[:, None] * place[:, 2]) / np.sqrt(1 + slopes[:, None] ** 2)  # m from each side
        radius = self._model.geom_rbound  # 0 for planes, which are boundless
        return np.asarray((radius > 0) & (outside > radius).any(axis=0))

    def _look(self, data: mujoco.MjData) -> bytes:
        """All that the still layer's picture depends on, as far as LIBERO and robosuite ever change it."""
        model, index = self._model, self.camera.fixedcamid
        seen: tuple[npt.NDArray[np.generic], ...] = (
            data.geom_xpos[self._still_geoms], data.geom_xmat[self._still_geoms],
            data.site_xpos[self._still_sites], data.site_xmat[self._still_sites],
            data.light_xpos, data.light_xdir, model.light_active, model.light_diffuse,
            data.cam_xpos[index], data.cam_xmat[index],
            model.cam_fovy[index : index + 1], model.cam_sensorsize[index], model.cam_intrinsic[index],
            model.geom_rgba, model.geom_matid, model.mat_rgba, model.mat_emission, model.site_rgba,
            self.option.geomgroup, self.option.sitegroup, self.scn.flags,
        )  # fmt: skip
        return b"".join(array.tobytes() for array in seen)

    def _set_buffer(self, size: int, samples: int) -> None:
        """Let the off-screen buffer be of another size and number of samples; costs a tenth of a millisecond."""
        self._drawing.offSamples = samples
        with current_context():
            if (self._drawing.offWidth, self._drawing.offHeight) == (size, size):
                self._mujoco.mjr_resizeOffscreen(size + 1, size, self._drawing)  # equal sizes would change nothing
            self._mujoco.mjr_resizeOffscreen(size, size, self._drawing)

    @contextlib.contextmanager
    def _hidden(self, geoms: IntArray) -> Iterator[None]:
        """Leave these geoms out, within the block."""
        group = self._model.geom_group
        before = group.copy()
        group[geoms] = _HIDDEN
        try:
            yield
        finally:
            group[:] = before

    @contextlib.contextmanager
    def _alone(self, pane: Pane) -> Iterator[None]:
        """Show nothing but the pane's geoms, and those as if they were solid, within the block."""
        model = self._model
        materials = model.geom_matid[pane.geoms]
        materials = materials[materials >= 0]
        changed = (model.geom_group, model.geom_rgba, model.mat_rgba, self.option.sitegroup)
        before = [array.copy() for array in changed]
        model.geom_group[:], self.option.sitegroup[:] = _HIDDEN, 0
        model.geom_group[pane.geoms] = before[0][pane.geoms]
        model.geom_rgba[pane.geoms, 3] = model.mat_rgba[materials, 3] = 1
        try:
            yield
        finally:
            for array, values in zip(changed, before, strict=True):
                array[:] = values

    @contextlib.contextmanager
    def _flags(self, wanted: dict[mujoco.mjtRndFlag, int]) -> Iterator[None]:
        """Drawing flags of the scene, within the block."""
        before = self.scn.flags.copy()
        for flag, value in wanted.items():
            self.scn.flags[flag] = value
        try:
            yield
        finally:
            self.scn.flags[:] = before


@contextlib.contextmanager
def _coarser_textures() -> Iterator[None]:
    """Within the block textures are filtered for pixels GRID times as large: four samples of what one pixel of
    the stock renderer would take once, in place of four of a sharper texture that would flicker."""
    with current_context():
        from OpenGL import GL

        GL.glTexEnvf(GL.GL_TEXTURE_FILTER_CONTROL, GL.GL_TEXTURE_LOD_BIAS, math.log2(GRID))
        try:
            yield
        finally:
            GL.glTexEnvf(GL.GL_TEXTURE_FILTER_CONTROL, GL.GL_TEXTURE_LOD_BIAS, 0.0)


def _mask(chosen: npt.NDArray[np.bool_]) -> Image.Image:
    """As Pillow wants masks: 255 where true."""
    return Image.fromarray(chosen.view(np.uint8) * np.uint8(255))


def _panes(model: mujoco.MjModel, option: mujoco.MjvOption) -> list[Pane]:
    """What is drawn and lets something behind it shine through, by opacity: glass, in LIBERO."""
    default = np.array([0.5, 0.5, 0.5, 1], dtype=np.float32)
    own = (model.geom_rgba != default).any(axis=1) | (model.geom_matid < 0)
    alpha = np.where(own, model.geom_rgba[:, 3], model.mat_rgba[model.geom_matid, 3] if model.nmat else 1)
    shown = option.geomgroup[np.clip(model.geom_group, 0, 5)] > 0
    return [
        Pane(1 - (1 - float(value)) ** 2, np.flatnonzero(shown & (alpha == value)))
        for value in np.unique(alpha[shown])
        if 0 < value < 1
    ]
