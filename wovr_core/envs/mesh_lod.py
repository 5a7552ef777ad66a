"""Level of detail for visual meshes: fewer triangles, same look. Pure geometry, no simulator.

A stock LIBERO scene draws 250,000-400,000 triangles into a picture of a few thousand pixels. `simplify`
decimates one mesh to a face budget and carries over what the eye sees at that size: the texture coordinate
and the normal of every *face corner* are read off the source surface, within one texture chart, so that no
triangle is smeared across a seam of the texture atlas.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from wovr_core.envs.mesh_files import F64, I64, Mesh, cross_products

ALGORITHM_VERSION = 2
"""Part of every cache key: raise it whenever `simplify` or `obj_text` would give another file."""


@dataclass(frozen=True)
class BudgetConfig:
    """How many triangles a mesh may keep: the more, the more pixels it covers, and the longer its outline."""

    faces_per_m2: float = 12000.0
    """A metre away, where LIBERO's cameras stand, this is one triangle to a pixel at 180 x 180."""
    faces_per_m: float = 1500.0
    """Of extent: what small, thin-walled things need (a mug, a plate) so that their sides do not cross."""
    minimum: int = 24
    maximum: int = 2500

    def faces(self, area: float, extent: float) -> int:
        """Budget for a surface of `area` m² and a longest side of `extent` m, rounded to two digits."""
        needed = max(self.faces_per_m2 * area, self.faces_per_m * extent)
        wanted = float(np.clip(needed, self.minimum, self.maximum))
        step = 10.0 ** (np.floor(np.log10(wanted)) - 1)
        return int(round(wanted / step) * step)


def weld(mesh: Mesh, digits: float = 1e-6) -> Mesh:
    """Join vertices at one place (in units of the mesh's extent) and drop faces that collapse by it.

    Files repeat a vertex for every texture coordinate or normal it has; decimated without welding, such a
    mesh tears open along every seam.
    """
    extent = max(float(np.ptp(mesh.vertices, axis=0).max()), 1e-12)
    grid = np.round(mesh.vertices / (extent * digits)).astype(np.int64)
    _, first, inverse = np.unique(grid, axis=0, return_index=True, return_inverse=True)
    faces = inverse.reshape(-1)[mesh.faces]
    keep = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    return replace(
        mesh,
        vertices=mesh.vertices[first],
        faces=faces[keep],
        uv=None if mesh.uv is None else mesh.uv[keep],
        normals=None if mesh.normals is None else mesh.normals[keep],
    )


def simplify(mesh: Mesh, budget: int) -> Mesh | None:
    """The mesh with about `budget` faces and per-corner attributes, or None where that would harm it.

    A decimation that loses its size (more than 5 % of an edge of the bounding box) or half of its surface
    is tried again with twice the faces, as it happens to meshes of many small parts. None means: keep the
    source, which is within its budget already or cannot be thinned.
    """
    source = weld(mesh)
    size, area = np.ptp(source.vertices, axis=0), source.area
    while len(source.faces) > budget * 1.2:
        result = _decimate(source, budget)
        if result is not None:
            lost = np.abs(np.ptp(result.vertices[result.faces.reshape(-1)], axis=0) - size).max() / size.max()
            if lost < 0.05 and 0.5 < result.area / area < 1.5 and len(result.faces) < 0.9 * len(source.faces):
                return _project_attributes(source, result)
        budget *= 2
    return None


def _decimate(source: Mesh, budget: int) -> Mesh | None:
    """Quadric edge collapse of positions only; None where nothing sound is left."""
    import fast_simplification

    vertices, faces = fast_simplification.simplify(
        np.ascontiguousarray(source.vertices), source.faces.astype(np.int32), target_count=budget, agg=5.0
    )
    if len(faces) < 4 or not np.isfinite(vertices).all():
        return None
    return Mesh(np.asarray(vertices, dtype=np.float64), np.asarray(faces, dtype=np.int64))


def _project_attributes(source: Mesh, result: Mesh) -> Mesh:
    """Read texture coordinate and normal of each corner off the source, inside one texture chart per face."""
    surface = _Surface(source)
    corners = result.triangles
    centres = corners.mean(axis=1)
    facing = _unit(cross_products(corners))
    middle, _ = surface.nearest(centres, facing, None)
    charts = surface.charts[middle]
    # corners are drawn a little to the middle: a corner on a crease must take its own side's normal
    inside = (0.97 * corners + 0.03 * centres[:, None]).reshape(-1, 3)
    found, weights = surface.nearest(inside, np.repeat(facing, 3, axis=0), np.repeat(charts, 3))
    shape = (len(corners), 3)
    uv = None
    if source.uv is not None:
        uv = np.einsum("nk,nkd->nd", weights, source.uv[found]).reshape(*shape, 2)
    read = np.einsum("nk,nkd->nd", weights, surface.normals[found])
    normals = _unit(read).reshape(*shape, 3)
    return replace(result, uv=uv, normals=normals)


class _Surface:
    """Nearest points on a mesh, by position and direction, optionally within one texture chart."""

    def __init__(self, mesh: Mesh, candidates: int = 12) -> None:
        from scipy.spatial import cKDTree

        self.triangles = mesh.triangles
        self.direction = _unit(cross_products(self.triangles))
        self.normals = mesh.normals if mesh.normals is not None else _smooth_normals(mesh)
        self.charts = _charts(mesh)
        self.candidates = min(candidates, len(mesh.faces))
        # One tree over (position, direction, chart): a wall's other side is as far as a tenth of the mesh,
        # another chart farther than anything.
        self.extent = float(np.ptp(mesh.vertices, axis=0).max())
        self.tree = cKDTree(self._key(self.triangles.mean(axis=1), self.direction, self.charts))
        self.free = cKDTree(self._key(self.triangles.mean(axis=1), self.direction, 0 * self.charts))

    def _key(self, points: F64, direction: F64, charts: I64) -> F64:
        chart = charts[:, None] * 100.0 * self.extent
        return np.concatenate([points, 0.1 * self.extent * direction, chart], axis=1)

    def nearest(self, points: F64, direction: F64, charts: I64 | None) -> tuple[I64, F64]:
        """points (N, 3) -> face (N,) and barycentric weights (N, 3) of the nearest place in it."""
        tree = self.free if charts is None else self.tree
        key = self._key(points, direction, np.zeros(len(points), np.int64) if charts is None else charts)
        _, options = tree.query(key, k=self.candidates)
        options = np.asarray(options).reshape(len(points), -1)
        weights = _closest_barycentric(points[:, None], self.triangles[options])
        place = np.einsum("nkc,nkcd->nkd", weights, self.triangles[options])
        cost = ((place - points[:, None]) ** 2).sum(-1)
        turned = ((self.direction[options] - direction[:, None]) ** 2).sum(-1)
        cost += 0.05 * (0.1 * self.extent) ** 2 * turned
        if charts is not None:
            cost[self.charts[options] != charts[:, None]] = np.inf
        best = cost.argmin(axis=1)
        rows = np.arange(len(points))
        return options[rows, best], weights[rows, best]


def _closest_barycentric(points: F64, triangles: F64) -> F64:
    """points (..., 3), triangles (..., 3, 3) -> weights (..., 3) of the closest point of each triangle.

    The inside solution where it has no negative weight, else the best of the three edges' solutions.
    """
    a, b, c = triangles[..., 0, :], triangles[..., 1, :], triangles[..., 2, :]
    ab, ac, ap = b - a, c - a, points - a
    d00, d01, d11 = (ab * ab).sum(-1), (ab * ac).sum(-1), (ac * ac).sum(-1)
    d20, d21 = (ap * ab).sum(-1), (ap * ac).sum(-1)
    determinant = d00 * d11 - d01 * d01
    safe = np.where(determinant > 1e-30, determinant, 1.0)
    v, w = (d11 * d20 - d01 * d21) / safe, (d00 * d21 - d01 * d20) / safe
    best = np.stack([1 - v - w, v, w], axis=-1)
    inside = (best.min(axis=-1) >= 0) & (determinant > 1e-30)
    smallest = np.where(inside, -1.0, np.inf)
    for i, j in ((0, 1), (1, 2), (2, 0)):
        p, q = triangles[..., i, :], triangles[..., j, :]
        edge = q - p
        t = np.clip(((points - p) * edge).sum(-1) / np.maximum((edge * edge).sum(-1), 1e-30), 0, 1)
        distance = ((p + t[..., None] * edge - points) ** 2).sum(-1)
        weights = np.zeros_like(best)
        weights[..., i], weights[..., j] = 1 - t, t
        better = distance < smallest
        best = np.where(better[..., None], weights, best)
        smallest = np.where(better, distance, smallest)
    return best


def _unit(vectors: F64) -> F64:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def _smooth_normals(mesh: Mesh) -> F64:
    """(N, 3, 3) what MuJoCo gives to files without normals, so that both profiles shade alike: a vertex's
    area-weighted mean, taken again without the faces that lie more than 37° (cosine 0.8) off the first one."""
    cross = cross_products(mesh.triangles)
    facing = _unit(cross)

    def mean(near: F64) -> F64:
        summed = np.zeros_like(mesh.vertices)
        for corner in range(3):
            np.add.at(summed, mesh.faces[:, corner], cross * near[:, corner, None])
        return summed

    first = _unit(mean(np.ones(mesh.faces.shape)))
    second = mean(((first[mesh.faces] * facing[:, None]).sum(-1) >= 0.8).astype(np.float64))
    alone = np.linalg.norm(second, axis=1, keepdims=True) < 1e-12 * max(float(np.abs(cross).max()), 1e-300)
    return np.asarray(np.where(alone, first, _unit(second))[mesh.faces])


def _charts(mesh: Mesh) -> I64:
    """(N,) a label per face: faces that share a corner of the texture atlas belong together."""
    if mesh.uv is None:
        return np.zeros(len(mesh.faces), dtype=np.int64)
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    key = np.round(mesh.uv.reshape(-1, 2) * 1e6).astype(np.int64)
    _, corner = np.unique(np.concatenate([mesh.faces.reshape(-1, 1), key], axis=1), axis=0, return_inverse=True)
    corner = corner.reshape(-1)
    faces = np.repeat(np.arange(len(mesh.faces)), 3)
    shape = (len(mesh.faces), int(corner.max()) + 1)
    joint = coo_matrix((np.ones(len(faces)), (faces, corner)), shape=shape).tocsr()
    _, labels = connected_components(joint @ joint.T, directed=False)
    return labels.astype(np.int64)
