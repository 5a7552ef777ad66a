"""Smaller textures for small pictures.

A LIBERO-Object scene carries 147 MB of texels (one basket: 4096 x 4096), and a driver keeps mipmaps of them
besides: most of the memory of an environment and of the time to build it, for pictures of 64 to 256 pixels.
Averaging blocks of texels beforehand is what the driver's mipmaps would show there anyway.
"""

from __future__ import annotations

import hashlib
import io
import os
import xml.etree.ElementTree as ET
from pathlib import Path

from wovr_core.files import write_bytes

LIMIT = 512
"""Texels a side. At 256 pixels a texture that fills the whole picture still has two texels to a pixel."""


def shrink_textures(xml: str, folder: Path, limit: int = LIMIT) -> str:
    """MJCF text whose picture files of more than `limit` texels a side are replaced by averaged ones.

    Only what the eye sees changes. Files are cached in `folder` by a hash of their content and the limit.

    Raises:
        WovrError: the cache cannot be written.
    """
    root = ET.fromstring(xml)
    for texture in root.iter("texture"):
        file = texture.get("file")
        if file is None or not os.path.isabs(file) or not file.lower().endswith(".png"):
            continue
        # left alone: several faces in one picture (borders would bleed), and channels other than RGB
        if texture.get("gridsize") is None and texture.get("nchannel", "3") == "3":
            texture.set("file", str(small_file(Path(file), folder, limit)))
    return ET.tostring(root, encoding="unicode")


def small_file(source: Path, folder: Path, limit: int) -> Path:
    """The cached averaged picture, made if missing; or `source` itself if it is small enough."""
    from PIL import Image, PngImagePlugin

    with Image.open(source) as picture:  # reads the header only
        block = -(-max(picture.size) // limit)
        if block <= 1:
            return source
        key = hashlib.sha256(source.read_bytes()).hexdigest()[:40]
        entry = folder / f"{key}-{limit}.png"
        if entry.exists():
            return entry
        # MuJoCo reads colours and no opacity; weighting by opacity would change what transparent texels show
        small = picture.convert("RGB").reduce(block)
        chunks = PngImagePlugin.PngInfo()
        if "srgb" in picture.info:  # MuJoCo draws such a picture darker than one without the mark
            chunks.add(b"sRGB", bytes([picture.info["srgb"]]))
    stream = io.BytesIO()
    small.save(stream, "PNG", pnginfo=chunks)
    write_bytes(entry, stream.getvalue())
    return entry
