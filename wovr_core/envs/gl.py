"""OpenGL without a screen: which backend, one context per process, and the off-screen renderer.

MuJoCo picks its OpenGL loader from the environment variable MUJOCO_GL, so `prepare` must run before anything
imports mujoco; every module of ours that needs mujoco calls it first. EGL is the default (software rasteriser
or GPU alike), OSMesa serves where EGL is missing, and a MUJOCO_GL set by the user is respected.

All renderers of a process share one context. robosuite makes a context per environment and never makes it
current again, so that a second environment fills the first one's pictures with garbage.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import sys
import threading
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from wovr_core.errors import MissingDependencyError, WovrError
from wovr_core.types import FloatArray, Frames, IntArray

if TYPE_CHECKING:
    import mujoco

EGL_PACKAGES = "libegl1 libegl-mesa0 libgl1 libgl1-mesa-dri"
OSMESA_PACKAGES = "libosmesa6"
_OFF = ("disable", "disabled", "off", "false", "0")
_PLATFORM_DEVICE = 0x313F  # EGL_PLATFORM_DEVICE_EXT


@dataclass(frozen=True)
class GLReport:
    """What `wovr doctor` prints about OpenGL."""

    ok: bool
    backend: str
    """"egl", "osmesa", another MUJOCO_GL of the user's, or "none"."""
    renderer: str
    """The driver's own name for itself, such as "llvmpipe (LLVM 15.0.6, 256 bits)"; empty if not ok."""
    advice: str
    """How to install what is missing; empty if ok."""


def egl_works() -> bool:
    """Whether an EGL display can be opened on some device, asked of the library itself, without PyOpenGL."""
    try:
        egl = ctypes.CDLL("libEGL.so.1")
        egl.eglGetProcAddress.restype = ctypes.c_void_p
        query_address = egl.eglGetProcAddress(b"eglQueryDevicesEXT")
        display_address = egl.eglGetProcAddress(b"eglGetPlatformDisplayEXT")
    except (OSError, AttributeError):
        return False
    if not query_address or not display_address:
        return False
    query = ctypes.CFUNCTYPE(
        ctypes.c_uint, ctypes.c_int, ctypes.POINTER(ctypes.c_void_p), ctypes.POINTER(ctypes.c_int)
    )(query_address)
    get_display = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p)(display_address)
    devices, count = (ctypes.c_void_p * 16)(), ctypes.c_int(0)
    if not query(16, devices, ctypes.byref(count)):
        return False
    egl.eglInitialize.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
    for device in devices[: count.value]:
        display = get_display(_PLATFORM_DEVICE, device, None)
        # Not terminated again: a display belongs to the process, and a context may live on it by now.
        if display and egl.eglInitialize(display, None, None):
            return True
    return False


def osmesa_works() -> bool:
    """Whether the OSMesa library can be loaded (it needs nothing else)."""
    for name in ("libOSMesa.so", "libOSMesa.so.8", "libOSMesa.so.6"):
        with contextlib.suppress(OSError):
            ctypes.CDLL(name)
            return True
    return False


@cache
def _choose(wanted: str) -> str:
    if wanted in _OFF:
        raise WovrError(f"MUJOCO_GL={wanted} leaves no renderer; unset it, or set it to egl or osmesa")
    if wanted not in ("", "egl", "osmesa"):
        return wanted  # glfw, glx, cgl: the user knows a screen of theirs
    if sys.platform != "linux":
        return wanted or "cgl"
    if wanted in ("", "egl") and egl_works():
        return "egl"
    if wanted in ("", "osmesa") and osmesa_works():
        return "osmesa"
    asked = f" (MUJOCO_GL={wanted})" if wanted else ""
    packages = OSMESA_PACKAGES if wanted == "osmesa" else EGL_PACKAGES
    other = "" if wanted else f", or for OSMesa: apt-get install {OSMESA_PACKAGES}"
    raise MissingDependencyError(
        f"no off-screen OpenGL{asked}: neither pictures nor LIBERO work without it; apt-get install {packages}{other}"
    )


def prepare() -> str:
    """Decide the backend and tell MuJoCo by the environment. Cheap after the first call.

    Returns:
        The backend's name, as MUJOCO_GL then says it.
    Raises:
        MissingDependencyError: neither EGL nor OSMesa (or not the one MUJOCO_GL asks for) is installed.
        WovrError: MUJOCO_GL switches rendering off.
    """
    backend = _choose(os.environ.get("MUJOCO_GL", "").strip().lower())
    os.environ["MUJOCO_GL"] = backend
    if backend in ("egl", "osmesa"):
        os.environ.setdefault("PYOPENGL_PLATFORM", backend)
    return backend


def check() -> GLReport:
    """Open a context for real and ask the driver's name; never raises."""
    try:
        backend = prepare()
        with current_context():
            from OpenGL import GL

            renderer = GL.glGetString(GL.GL_RENDERER)
        return GLReport(True, backend, renderer.decode() if renderer else "unknown", "")
    except WovrError as error:
        return GLReport(False, "none", "", str(error))
    except Exception as error:  # drivers fail in their own ways
        advice = f"OpenGL is installed but does not start ({error}); apt-get install {EGL_PACKAGES}"
        return GLReport(False, os.environ.get("MUJOCO_GL", "none"), "", advice)


_lock = threading.RLock()
_context: Any = None
_context_backend = ""
_depth = 0
_renderers: weakref.WeakSet[OffscreenRenderer] = weakref.WeakSet()


def _open_context(backend: str) -> Any:
    if backend == "egl":
        from mujoco.egl import GLContext
    elif backend == "osmesa":
        from mujoco.osmesa import GLContext
    else:
        from mujoco.gl_context import GLContext
    context = GLContext(1024, 1024)
    # mujoco registered the display's shutdown at import; ours is registered later and so runs first.
    atexit.register(_close_context)
    return context


def _close_context() -> None:
    global _context
    with _lock:
        if _context is not None:
            for renderer in list(_renderers):
                renderer.close()
            _context.free()
            _context = None


def _release() -> None:
    """Let go of the context, so that another thread can take it."""
    if _context_backend == "egl":
        from mujoco import egl

        egl.EGL.eglMakeCurrent(egl.EGL_DISPLAY, egl.EGL.EGL_NO_SURFACE, egl.EGL.EGL_NO_SURFACE, egl.EGL.EGL_NO_CONTEXT)


@contextlib.contextmanager
def current_context() -> Iterator[None]:
    """Hold the process's one context, current on this thread, until the block ends; re-entrant.

    Raises:
        MissingDependencyError: see `prepare`.
    """
    global _context, _context_backend, _depth
    with _lock:
        if _context is None:
            _context_backend = prepare()
            _context = _open_context(_context_backend)
        if _depth == 0:
            _context.make_current()
        _depth += 1
        try:
            yield
        finally:
            _depth -= 1
            # After _close_context (interpreter exit) there is nothing to let go of.
            if _depth == 0 and _context is not None:
                _release()


class OffscreenRenderer:
    """Draws one camera of one MuJoCo model into square pictures, in the process's shared context."""

    def __init__(self, model: mujoco.MjModel, camera: str, size: int, max_geoms: int = 2000) -> None:
        prepare()
        import mujoco

        self._mujoco = mujoco
        self._model = model
        self.size = size
        model.vis.global_.offwidth = size
        model.vis.global_.offheight = size
        self.scn = mujoco.MjvScene(model, maxgeom=max_geoms)
        self.option = mujoco.MjvOption()
        self.camera = self._fixed_camera(camera)
        with current_context():
            self._drawing: Any = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
            self._drawing.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR  # as it lies in the buffer
        _renderers.add(self)

    def render(self, data: mujoco.MjData, camera: str | None = None) -> Frames:
        """(size, size, 3) RGB of its own camera or another, as OpenGL lays it out: the first row is the lowest.

        Raises:
            WovrError: the model has no such camera.
        """
        pixels = np.empty((self.size, self.size, 3), dtype=np.uint8)
        self._draw(data, self._fixed_camera(camera) if camera else self.camera, pixels)
        return pixels

    def render_geoms(self, data: mujoco.MjData, categories: int | None = None) -> tuple[IntArray, FloatArray]:
        """Which geom (of some of MuJoCo's `categories`, or all) covers each pixel, and how far away it is: one pass
        without light, shadow or texture.

        Returns:
            (size, size) the geom's id in the model, or -1 where nothing is or what is there is no geom; and
            (size, size) the distance along the camera's axis in m (the far plane's where nothing is). The
            first row is the lowest.
        """
        m, scn = self._mujoco, self.scn
        codes = np.empty((self.size, self.size, 3), dtype=np.uint8)
        depth = np.empty((self.size, self.size), dtype=np.float32)
        flags, sites = scn.flags.copy(), self.option.sitegroup.copy()
        scn.flags[m.mjtRndFlag.mjRND_SEGMENT] = scn.flags[m.mjtRndFlag.mjRND_IDCOLOR] = 1
        self.option.sitegroup[:] = 0  # this pass knows no transparency: an invisible marker would cover things
        try:
            self._draw(data, self.camera, codes, depth, categories)
        finally:
            scn.flags[:], self.option.sitegroup[:] = flags, sites
        # a code is the number that the scene gave to what it drew, plus one
        geom_of = np.full(scn.maxgeom + 1, -1, dtype=np.int64)
        for drawn in scn.geoms[: scn.ngeom]:
            if drawn.objtype == m.mjtObj.mjOBJ_GEOM and drawn.segid >= 0:
                geom_of[drawn.segid + 1] = drawn.objid
        geoms = geom_of[codes.astype(np.int64) @ np.array([1, 256, 65536])]
        near, far = scn.camera[0].frustum_near, scn.camera[0].frustum_far
        # the buffer runs from 1 at the near plane to 0 at the far one, hyperbolically
        return geoms, (near * far / (near + depth.astype(np.float64) * (far - near))).astype(np.float32)

    def _draw(
        self,
        data: mujoco.MjData,
        camera: mujoco.MjvCamera,
        colour: Frames,
        depth: FloatArray | None = None,
        categories: int | None = None,
    ) -> None:
        """Draw into a picture (n, n, 3) u8 and a depth buffer (n, n) f32; `categories` of MuJoCo's, or all."""
        m = self._mujoco
        rect = m.MjrRect(0, 0, len(colour), len(colour))
        shown = m.mjtCatBit.mjCAT_ALL if categories is None else categories
        m.mjv_updateScene(self._model, data, self.option, None, camera, shown, self.scn)
        with current_context():
            m.mjr_setBuffer(m.mjtFramebuffer.mjFB_OFFSCREEN, self._drawing)
            m.mjr_render(rect, self.scn, self._drawing)
            m.mjr_readPixels(colour, depth, rect, self._drawing)

    def _fixed_camera(self, name: str) -> mujoco.MjvCamera:
        m = self._mujoco
        index = m.mj_name2id(self._model, m.mjtObj.mjOBJ_CAMERA, name)
        if index < 0:
            names = [self._model.camera(i).name for i in range(self._model.ncam)]
            raise WovrError(f"no camera {name!r} in this scene; it has {', '.join(names)}")
        camera = m.MjvCamera()
        camera.type = m.mjtCamera.mjCAMERA_FIXED
        camera.fixedcamid = index
        return camera

    def close(self) -> None:
        """Free what the driver holds for this model; harmless when repeated, or when the process ends."""
        if self._drawing is not None:
            if _context is not None:
                with current_context():
                    self._drawing.free()
            self._drawing = None

    def __del__(self) -> None:
        # MuJoCo would free its drawing data in whatever context is current by then, or in none.
        if not sys.is_finalizing() and getattr(self, "_drawing", None) is not None:
            self.close()
