"""The columns of a LeRobotDataset that we write, and how its files are put in place."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from wovr_core.errors import MissingDependencyError
from wovr_core.files import fsync_directory
from wovr_core.types import ACTION_DIM, FPS

IMAGE, WRIST = "observation.images.image", "observation.images.image2"


def features(shape: tuple[int, ...], streams: tuple[str, ...], pictures: str, codec: str) -> dict[str, dict[str, Any]]:
    """What info.json says of each column, and of each camera."""
    height, width, _ = shape
    picture: dict[str, Any] = {
        "dtype": pictures,
        "shape": [height, width, 3],
        "names": ["height", "width", "channels"],
    }
    if pictures == "video":
        details = {"video.height": height, "video.width": width, "video.codec": codec,
                 "video.pix_fmt": "yuv420p", "video.is_depth_map": False, "video.fps": FPS, "video.channels": 3,
                 "has_audio": False}  # fmt: skip
        picture["info"] = details
    names = ["x", "y", "z", "rx", "ry", "rz", "gripper"]
    kinds = {
        "timestamp": "float32",
        "frame_index": "int64",
        "episode_index": "int64",
        "index": "int64",
        "task_index": "int64",
        "next.reward": "float32",
        "next.done": "bool",
        "next.success": "bool",
    }
    return {
        **dict.fromkeys((IMAGE, *streams), picture),
        "action": {"dtype": "float32", "shape": [ACTION_DIM], "names": {"motors": names}},
        **{name: {"dtype": kind, "shape": [1], "names": None} for name, kind in kinds.items()},
    }


def schema(described_features: Mapping[str, dict[str, Any]]) -> Any:
    """Columns with the note by which Hugging Face's `datasets` knows pictures and lengths."""
    import pyarrow as pa

    picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    arrow: dict[str, Any] = {}
    described: dict[str, Any] = {}
    for name, feature in described_features.items():
        if feature["dtype"] == "video":
            continue
        if feature["dtype"] == "image":
            arrow[name], described[name] = picture, {"_type": "Image"}
        elif name == "action":
            value = {"dtype": "float32", "_type": "Value"}
            arrow[name] = pa.list_(pa.float32(), ACTION_DIM)
            described[name] = {"feature": value, "length": ACTION_DIM, "_type": "List"}
        else:
            arrow[name] = {"float32": pa.float32(), "int64": pa.int64(), "bool": pa.bool_()}[feature["dtype"]]
            described[name] = {"dtype": feature["dtype"], "_type": "Value"}
    note = json.dumps({"info": {"features": described}})
    return pa.schema(list(arrow.items()), metadata={"huggingface": note})


@contextlib.contextmanager
def placed(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`, which becomes `path` if the block ends well."""
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError("LeRobot datasets need pyarrow: pip install 'wovr-workbench[data]'") from error
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
        fsync_directory(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
