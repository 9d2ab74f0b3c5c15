"""What image files have besides their pixels: it never decides whether an image is read.

Texts, color profiles and application data can be too large for Pillow, damaged, or have a wrong
checksum. A file that Pillow refuses is then read without them.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
END_OF_JPEG: Final = b"\xff\xd9"
START_OF_SCAN, COMMENT = 0xFFDA, 0xFFFE
COLOR_SEGMENTS: Final = ((b"JFIF\0", 14), (b"Adobe", 12), (b"Exif\0\0", 8))
"""Application segments that a JPEG needs, with the length that they have at least."""


def without_side_data(data: bytes, kind: str) -> bytes | None:
    """The file with its pixels, transparency and orientation alone; None: it has nothing else.

    Only of a JPEG and a PNG: the side data of other formats does not stop Pillow.
    """
    bare = {"JPEG": _bare_jpeg, "PNG": _bare_png}.get(kind, bytes)(data)
    return bare if len(bare) < len(data) else None


def _bare_png(data: bytes) -> bytes:
    kept, position, view = [PNG_SIGNATURE], len(PNG_SIGNATURE), memoryview(data)
    while position + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        chunk = view[position : position + 12 + length]
        position += 12 + length
        is_critical = not name[0] & 0x20
        if is_critical or (name in (b"tRNS", b"eXIf") and _is_sound(chunk)):
            kept.append(bytes(chunk))
        if name == b"IEND":
            break
    return b"".join(kept)


def _bare_jpeg(data: bytes) -> bytes:
    """Without its application segments, but for those that concern colors and orientation."""
    kept, position = [data[:2]], 2
    while position + 4 <= len(data):
        marker, length = struct.unpack_from(">HH", data, position)
        if not 0xFF01 <= marker <= 0xFFFE or marker == START_OF_SCAN:
            break
        segment = data[position : position + 2 + length]
        position += 2 + length
        content = segment[4:]
        if not (0xFFE0 <= marker <= 0xFFEF or marker == COMMENT) or any(
            content.startswith(name) and len(content) >= size for name, size in COLOR_SEGMENTS
        ):
            kept.append(segment)
    return b"".join([*kept, data[position:]])


def _is_sound(chunk: memoryview) -> bool:
    return len(chunk) >= 12 and zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big")


def ended_jpeg(data: bytes) -> bytes:
    """A truncated JPEG with an end, and without a last segment that is incomplete."""
    last = max(data.rfind(b"\xff\xc4"), data.rfind(b"\xff\xda"))
    if last >= 0 and last + 2 + int.from_bytes(data[last + 2 : last + 4], "big") > len(data):
        data = data[:last]
    return data + END_OF_JPEG
