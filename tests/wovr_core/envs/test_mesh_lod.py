"""Mesh files and decimation, against shapes whose surface, texture and normals are known in closed form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wovr_core.envs.mesh_files import F64, Mesh, load_mesh, obj_text
from wovr_core.envs.mesh_lod import BudgetConfig, simplify, weld
from wovr_core.errors import CorruptFileError


def grid(n: int) -> Mesh:
    """A unit square in z = 0 of 2 n² triangles, unwelded, textured by its own x and y."""
    x, y = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
    corner = np.stack([x, y, 0 * x], -1).reshape(-1, 3)
    quads = [corner + offset for offset in ([0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0])]
    lower, upper = np.stack([quads[i] for i in (0, 1, 2)], 1), np.stack([quads[i] for i in (0, 2, 3)], 1)
    triangles = np.concatenate([lower, upper]) / n
    faces = np.arange(3 * len(triangles)).reshape(-1, 3)
    return Mesh(triangles.reshape(-1, 3), faces, triangles[:, :, :2].copy())


def sphere(subdivisions: int = 5) -> Mesh:
    import trimesh

    ball = trimesh.creation.icosphere(subdivisions=subdivisions, radius=2.0)
    return Mesh(np.asarray(ball.vertices, dtype=np.float64), np.asarray(ball.faces, dtype=np.int64))


def open_edges(mesh: Mesh) -> int:
    edges = np.sort(mesh.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    _, counts = np.unique(edges, axis=0, return_counts=True)
    return int((counts == 1).sum())


def msh_bytes(mesh: Mesh, normals: F64, uv: F64) -> bytes:
    counts = np.array([len(mesh.vertices), len(normals), len(uv), len(mesh.faces)], np.int32)
    floats = [part.astype(np.float32).tobytes() for part in (mesh.vertices, normals, uv)]
    return counts.tobytes() + b"".join(floats) + mesh.faces.astype(np.int32).tobytes()


def test_a_sphere_keeps_its_shape_and_normals_at_a_sixtieth_of_its_faces() -> None:
    source = sphere()
    small = simplify(source, 300)
    assert small is not None
    assert len(source.faces) > 60 * len(small.faces)
    assert len(small.faces) <= 300
    assert open_edges(small) == 0
    assert np.abs(np.linalg.norm(small.vertices, axis=1) - 2).max() < 0.12
    assert small.normals is not None
    radial = small.triangles / np.linalg.norm(small.triangles, axis=-1, keepdims=True)
    assert (small.normals * radial).sum(-1).min() > 0.99


def test_texture_coordinates_follow_the_surface() -> None:
    small = simplify(grid(30), 60)
    assert small is not None
    assert small.uv is not None
    # corners are read 3 % nearer to the middle of a triangle, which spans at most the unit square
    assert np.abs(small.uv - small.triangles[:, :, :2]).max() < 0.03
    assert small.area == pytest.approx(1.0, abs=0.1)  # an open border may lose a little


def test_no_triangle_is_smeared_across_a_seam_of_the_atlas() -> None:
    source = grid(30)
    assert source.uv is not None
    right = source.triangles[:, :, 0].mean(axis=1) > 0.5
    source.uv[right, :, 0] += 10  # the right half lies elsewhere in the atlas
    small = simplify(source, 60)
    assert small is not None
    assert small.uv is not None
    u = small.uv[:, :, 0]
    assert ((u > 5).all(axis=1) | (u < 5).all(axis=1)).all()
    assert (u > 5).any()
    assert (u < 5).any()


def test_a_seam_in_the_file_does_not_tear_the_decimated_mesh() -> None:
    ball = sphere(4)
    torn = Mesh(ball.triangles.reshape(-1, 3), np.arange(3 * len(ball.faces)).reshape(-1, 3))
    assert open_edges(torn) == 3 * len(ball.faces)
    assert open_edges(weld(torn)) == 0
    small = simplify(torn, 200)
    assert small is not None
    assert open_edges(small) == 0


def test_a_mesh_within_its_budget_is_kept() -> None:
    assert simplify(grid(3), 24) is None


def test_loose_parts_are_not_lost() -> None:
    single = sphere(2)  # 320 faces
    vertices = np.concatenate([single.vertices + np.array([10 * i, 0, 0]) for i in range(8)])
    faces = np.concatenate([single.faces + i * len(single.vertices) for i in range(8)])
    small = simplify(Mesh(vertices, faces), 40)
    assert small is not None
    assert len(small.faces) < 0.5 * len(faces)
    assert small.triangles[..., 0].max() == pytest.approx(72, rel=0.05)


def test_the_budget_grows_with_surface_and_extent_between_its_bounds() -> None:
    budget = BudgetConfig(faces_per_m2=1000, faces_per_m=100, minimum=20, maximum=500)
    assert [budget.faces(area, 0.1) for area in (0.0, 0.001, 0.1234, 0.2, 9.0)] == [20, 20, 120, 200, 500]
    assert [budget.faces(0.1234, extent) for extent in (0.5, 3.0, 9.0)] == [120, 300, 500]


def test_msh_files_are_read_with_their_texture_turned_upwards(tmp_path: Path) -> None:
    mesh = grid(2)
    assert mesh.uv is not None
    uv, normals = mesh.uv.reshape(-1, 2), np.tile([0.0, 0, 1], (len(mesh.vertices), 1))
    (tmp_path / "m.msh").write_bytes(msh_bytes(mesh, normals, uv))
    read = load_mesh(tmp_path / "m.msh")
    np.testing.assert_array_equal(read.faces, mesh.faces)
    np.testing.assert_allclose(read.vertices, mesh.vertices, atol=1e-7)
    assert read.uv is not None
    np.testing.assert_allclose(read.uv[..., 1], 1 - mesh.uv[..., 1], atol=1e-7)


def test_obj_files_polygons_negative_indices_and_missing_parts(tmp_path: Path) -> None:
    text = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvn 0 0 1\n# a square\nf -4//1 -3//1 -2//1 -1//-1\n"
    (tmp_path / "m.obj").write_text(text)
    read = load_mesh(tmp_path / "m.obj")
    np.testing.assert_array_equal(read.faces, [[0, 1, 2], [0, 2, 3]])
    assert read.uv is None
    assert read.normals is not None
    assert read.area == pytest.approx(1)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    small = simplify(grid(30), 60)
    assert small is not None
    (tmp_path / "m.obj").write_text(obj_text(small))
    read = load_mesh(tmp_path / "m.obj")
    np.testing.assert_array_equal(read.faces, small.faces)
    for name in ("vertices", "uv", "normals"):
        np.testing.assert_allclose(getattr(read, name), getattr(small, name), atol=2e-5)


def test_mujoco_sees_the_same_picture_in_msh_and_in_our_obj(tmp_path: Path) -> None:
    import mujoco

    mesh = grid(4)
    lifted = Mesh(mesh.vertices + np.where(mesh.vertices[:, :1] > 0.5, [[0, 0, 0.3]], 0.0), mesh.faces, mesh.uv)
    assert lifted.uv is not None
    normals = np.tile([0.0, 0, 1], (len(lifted.vertices), 1))
    uv = lifted.uv.reshape(-1, 2)
    (tmp_path / "a.msh").write_bytes(msh_bytes(lifted, normals, uv))
    (tmp_path / "b.obj").write_text(obj_text(load_mesh(tmp_path / "a.msh")))
    xml = "<mujoco><asset>{}</asset><worldbody>{}</worldbody></mujoco>".format(
        "".join(f'<mesh name="{n}" file="{tmp_path / n}" inertia="shell"/>' for n in ("a.msh", "b.obj")),
        "".join(f'<geom type="mesh" mesh="{n}"/>' for n in ("a.msh", "b.obj")),
    )
    model = mujoco.MjModel.from_xml_string(xml)
    corners = []
    for i in range(2):
        faces = slice(model.mesh_faceadr[i], model.mesh_faceadr[i] + model.mesh_facenum[i])
        coordinates = model.mesh_texcoord[model.mesh_texcoordadr[i] + model.mesh_facetexcoord[faces]]
        corners.append(np.sort(coordinates.reshape(-1, 2).round(5), axis=0))
    np.testing.assert_allclose(corners[0], corners[1], atol=1e-5)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("short.msh", b"\x01\x00\x00\x00"),
        ("cut.msh", np.array([3, 0, 0, 1], np.int32).tobytes() + bytes(36)),
        ("empty.obj", b"v 0 0 0\n"),
        ("past.obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n"),
        ("words.obj", b"v a b c\n"),
        ("mesh.ply", b"ply"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CorruptFileError, match=name):
        load_mesh(tmp_path / name)
