"""Triangle meshes in files: read .msh, .obj and .stl, write .obj. Pure geometry, no simulator."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wovr_core.errors import CorruptFileError

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh with attributes per face corner, in the convention of OBJ files (v upwards)."""

    vertices: F64
    """(V, 3)"""
    faces: I64
    """(N, 3) indices into vertices."""
    uv: F64 | None = None
    """(N, 3, 2) texture coordinates."""
    normals: F64 | None = None
    """(N, 3, 3) unit normals."""

    @property
    def triangles(self) -> F64:
        """(N, 3, 3) corner positions."""
        return np.asarray(self.vertices[self.faces], dtype=np.float64)

    @property
    def area(self) -> float:
        """Surface area in the file's units squared."""
        return float(0.5 * np.linalg.norm(cross_products(self.triangles), axis=1).sum())


def cross_products(triangles: F64) -> F64:
    """(N, 3, 3) -> (N, 3): normals with twice the face's area as length."""
    return np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])


def load_mesh(path: Path) -> Mesh:
    """Read a .msh (MuJoCo's legacy binary), .obj or .stl file.

    Raises CorruptFileError when the file is cut short, indexes out of range or is of another kind.
    """
    readers = {".msh": _read_msh, ".obj": _read_obj, ".stl": _read_stl}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise CorruptFileError(f"{path}: not a mesh this reader knows ({', '.join(readers)})")
    try:
        mesh = reader(path)
    except (ValueError, IndexError) as error:
        raise CorruptFileError(f"{path}: cannot be read as a {path.suffix} mesh: {error}") from error
    if len(mesh.faces) == 0 or mesh.faces.min() < 0 or mesh.faces.max() >= len(mesh.vertices):
        raise CorruptFileError(f"{path}: has no faces, or some that point past its {len(mesh.vertices)} vertices")
    return mesh


def _read_msh(path: Path) -> Mesh:
    """Counts (4 int32), then f32 vertices, normals, texture coordinates (v downwards), int32 faces."""
    raw = path.read_bytes()
    nv, nn, nt, nf = (int(n) for n in np.frombuffer(raw, np.int32, 4))
    if min(nv, nn, nt, nf) < 0 or len(raw) != 16 + 4 * (3 * nv + 3 * nn + 2 * nt + 3 * nf):
        raise ValueError(f"the size does not fit its counts {nv}, {nn}, {nt}, {nf}")
    floats = np.frombuffer(raw, np.float32, 3 * nv + 3 * nn + 2 * nt, 16).astype(np.float64)
    faces = np.frombuffer(raw, np.int32, 3 * nf, 16 + 4 * floats.size).reshape(-1, 3).astype(np.int64)
    normals = floats[3 * nv : 3 * (nv + nn)].reshape(-1, 3)
    uv = floats[3 * (nv + nn) :].reshape(-1, 2) * [1, -1] + [0, 1]
    return Mesh(
        floats[: 3 * nv].reshape(-1, 3),
        faces,
        uv[faces] if nt == nv else None,
        normals[faces] if nn == nv else None,
    )


def _read_obj(path: Path) -> Mesh:
    """Positions, texture coordinates, normals and polygons (as fans); materials and groups are skipped."""
    columns: dict[str, list[list[float]]] = {"v": [], "vt": [], "vn": []}
    width = {"v": 3, "vt": 2, "vn": 3}
    corners: list[tuple[int, int, int]] = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        key, *values = line.split() or [""]
        if key in columns:
            columns[key].append([float(x) for x in values[: width[key]]])
        elif key == "f":
            polygon = []
            for value in values:
                index = [int(x) if x else 0 for x in value.split("/")] + [0, 0]
                counts = (len(columns["v"]), len(columns["vt"]), len(columns["vn"]))
                # indices count from 1, negative ones from the end; 0 becomes -1: absent
                v, t, n = (i - 1 if i >= 0 else c + i for i, c in zip(index, counts, strict=False))
                polygon.append((v, t, n))
            for second, third in pairwise(polygon[1:]):
                corners += [polygon[0], second, third]
    index_array = np.array(corners, dtype=np.int64).reshape(-1, 3, 3)
    attributes: list[F64 | None] = []
    for position, key in ((1, "vt"), (2, "vn")):
        chosen = index_array[:, :, position]
        whole = len(chosen) and chosen.min() >= 0 and bool(columns[key])
        attributes.append(np.array(columns[key], dtype=np.float64)[chosen] if whole else None)
    vertices = np.array(columns["v"], dtype=np.float64).reshape(-1, 3)
    return Mesh(vertices, index_array[:, :, 0], attributes[0], attributes[1])


def _read_stl(path: Path) -> Mesh:
    import trimesh

    loaded: Any = trimesh.load(path, process=False, force="mesh")
    return Mesh(np.asarray(loaded.vertices, dtype=np.float64), np.asarray(loaded.faces, dtype=np.int64))


def obj_text(mesh: Mesh) -> str:
    """The mesh as the text of an OBJ file, with one texture coordinate and normal per face corner."""
    lines = ["v {:.7g} {:.7g} {:.7g}".format(*v) for v in mesh.vertices]
    if mesh.uv is not None:
        lines += ["vt {:.6f} {:.6f}".format(*t) for t in mesh.uv.reshape(-1, 2)]
    if mesh.normals is not None:
        lines += ["vn {:.5f} {:.5f} {:.5f}".format(*n) for n in mesh.normals.reshape(-1, 3)]
    for number, face in enumerate(mesh.faces):
        words = []
        for corner, vertex in enumerate(face):
            index = 3 * number + corner + 1
            uv = index if mesh.uv is not None else ""
            normal = f"/{index}" if mesh.normals is not None else ""
            words.append(f"{vertex + 1}/{uv}{normal}" if uv or normal else f"{vertex + 1}")
        lines.append("f " + " ".join(words))
    return "\n".join(lines) + "\n"
