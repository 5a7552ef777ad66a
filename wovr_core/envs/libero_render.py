"""Fast pictures of LIBERO scenes: level-of-detail meshes for what moves.

What is changed is what only the eye sees. A mesh that any collision geom uses, or that could count for a
body's mass, stays as it is, so the physics of the two profiles is the same bit for bit.
"""

from __future__ import annotations

import hashlib
import os
import threading
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from wovr_core.envs.mesh_files import load_mesh, obj_text
from wovr_core.envs.mesh_lod import ALGORITHM_VERSION, BudgetConfig, simplify
from wovr_core.errors import UnknownNameError
from wovr_core.files import wovr_home, write_bytes

Profile = Literal["fast", "reference"]

_HOOK_LOCK = threading.RLock()
_SEAL = "# sealed sha256 "
_KEEP = "# keep the source\n"


def check_profile(profile: str) -> None:
    """Raise UnknownNameError unless `profile` is one of the two."""
    if profile not in get_args(Profile):
        raise UnknownNameError("render profile", profile, get_args(Profile))


def cache_folder() -> Path:
    """Where decimated meshes live."""
    return wovr_home() / "meshes"


def is_first_use() -> bool:
    """Whether no mesh was decimated yet: the first environments of a new machine take longer to build."""
    return next(cache_folder().glob("*.obj"), None) is None


def lod_file(source: Path, scale: tuple[float, float, float], budget: BudgetConfig, folder: Path) -> Path:
    """The cached file to load instead of `source`, built if it is missing or damaged; or `source` itself.

    The entry's name is a hash of the source's bytes, its scale, the budget and the algorithm's version, so
    that it is never stale. Its first line seals its content; one that does not fit is built again. It
    appears by a rename: two processes may build it at once, and either result serves.

    Raises:
        WovrError: the folder cannot be written.
        CorruptFileError: the source is no mesh.
    """
    key = hashlib.sha256(source.read_bytes())
    key.update(f"|{source.suffix.lower()}|{scale}|{budget}|{ALGORITHM_VERSION}".encode())
    entry = folder / f"{key.hexdigest()[:40]}.obj"
    body = _sealed_body(entry)
    if body is None:
        mesh = load_mesh(source)
        area = mesh.area * float(np.prod(np.abs(scale))) ** (2 / 3)
        extent = float((np.ptp(mesh.vertices, axis=0) * np.abs(scale)).max())
        small = simplify(mesh, budget.faces(area, extent))
        body = _KEEP if small is None else obj_text(small)
        write_bytes(entry, f"{_SEAL}{hashlib.sha256(body.encode()).hexdigest()}\n{body}".encode("ascii"))
    return source if body == _KEEP else entry


def _sealed_body(entry: Path) -> str | None:
    """The entry's content if it is whole, else None."""
    try:
        first, _, body = entry.read_text(encoding="ascii").partition("\n")
    except (OSError, UnicodeDecodeError):
        return None
    return body if first == _SEAL + hashlib.sha256(body.encode()).hexdigest() else None


def visual_meshes(root: ET.Element) -> set[str]:
    """Names of the meshes of an MJCF tree that neither collide nor weigh anything.

    Every geom that shows such a mesh has contype = conaffinity = 0 and lies in a group that the compiler's
    inertiagrouprange leaves out (or has mass 0). What cannot be told from the geom's own attributes, such
    as a value from a default class, counts as physical. Meshes that no geom shows are left alone.
    """
    compiler = root.find("compiler")
    weighing = None if compiler is None else compiler.get("inertiagrouprange")
    low, high = (int(x) for x in (weighing or "0 5").split())
    seen: set[str] = set()
    physical: set[str] = set()
    for geom in root.iter("geom"):
        name = geom.get("mesh")
        if name is None:
            continue
        seen.add(name)
        collides = geom.get("contype") != "0" or geom.get("conaffinity") != "0"
        weighs = low <= int(geom.get("group", "0")) <= high and float(geom.get("mass", "1")) != 0
        if collides or weighs:
            physical.add(name)
    return seen - physical


def moving_meshes(root: ET.Element) -> set[str]:
    """Names of the meshes of an MJCF tree that some geom on a jointed body (or below one) shows."""
    return {
        name
        for body in root.iter("body")
        if any(child.tag in ("joint", "freejoint") for child in body)
        for geom in body.iter("geom")
        if (name := geom.get("mesh")) is not None
    }


def thin_out(xml: str, budget: BudgetConfig, folder: Path) -> str:
    """MJCF text whose visual meshes of moving things are replaced by decimated ones.

    What stands still is drawn once (see `layered_renderer`) and keeps all its triangles. No light of LIBERO's
    casts shadows, so the shadow map that stock allocates (64 MB) is not needed.
    """
    root = ET.fromstring(xml)
    thinned = visual_meshes(root) & moving_meshes(root)
    for mesh in root.iter("mesh"):
        file = mesh.get("file")
        if file is None or mesh.get("name") not in thinned or not os.path.isabs(file):
            continue
        scale = tuple(float(x) for x in (mesh.get("scale") or "1 1 1").split())
        mesh.set("file", str(lod_file(Path(file), (scale[0], scale[1], scale[2]), budget, folder)))
    section = root.find("visual")
    if section is None:
        section = ET.SubElement(root, "visual")
    quality = section.find("quality")
    if quality is None:
        quality = ET.SubElement(section, "quality")
    quality.set("shadowsize", "0")
    return ET.tostring(root, encoding="unicode")


@contextmanager
def fast_meshes(profile: Profile, budget: BudgetConfig | None = None) -> Iterator[None]:
    """While active, robosuite builds its models as the profile asks; afterwards robosuite is as it was.

    Hold it around the construction of an environment *and* around each hard reset, which builds the model
    anew. "reference" changes nothing. The hook sits where robosuite hands its XML to MuJoCo, so that poses
    LIBERO has set by then are kept. One thread at a time may hold it.

    Raises UnknownNameError for another profile, WovrError where the cache cannot be written.
    """
    check_profile(profile)
    if profile == "reference":
        yield
        return
    from robosuite.models.base import MujocoXML

    chosen, folder = budget or BudgetConfig(), cache_folder()
    with _HOOK_LOCK:
        stock = MujocoXML.get_xml

        def get_xml(self: Any) -> str:
            return thin_out(stock(self), chosen, folder)

        MujocoXML.get_xml = get_xml
        try:
            yield
        finally:
            MujocoXML.get_xml = stock
