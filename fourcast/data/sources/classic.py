"""How long a classic netCDF file must be, from its header: the netCDF library reads zeros past a truncated end.

Format: NetCDF Classic, 64-bit offset and 64-bit data format specifications (Unidata, "File Format Specifications").
"""

import struct
from math import prod
from pathlib import Path
from typing import BinaryIO

TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 8, 7: 1, 8: 2, 9: 4, 10: 8, 11: 8}


class _Header:
    """A reader of the header's big-endian fields; their widths depend on the format's version."""

    def __init__(self, handle: BinaryIO, version: int) -> None:
        self.handle = handle
        self.count_format = ">q" if version == 5 else ">i"
        self.offset_format = ">i" if version == 1 else ">q"

    def take(self, form: str) -> int:
        return int(struct.unpack(form, self.handle.read(struct.calcsize(form)))[0])

    def count(self) -> int:
        return self.take(self.count_format)

    def skip_padded(self, size: int) -> None:
        self.handle.seek(_padded(size), 1)

    def length_of_list(self) -> int:
        self.take(">i")
        return self.count()

    def skip_attributes(self) -> None:
        for _ in range(self.length_of_list()):
            self.skip_padded(self.count())
            size = TYPE_BYTES[self.take(">i")]
            self.skip_padded(self.count() * size)


def expected_bytes(path: Path) -> int:
    """The least size in bytes of the classic netCDF file at ``path``; struct.error where its header is cut off."""
    with path.open("rb") as handle:
        version = handle.read(4)[3]
        header = _Header(handle, version)
        records = header.count()
        dimensions = []
        for _ in range(header.length_of_list()):
            header.skip_padded(header.count())
            dimensions.append(header.count())
        header.skip_attributes()
        fixed_end, record_start, record_bytes = 0, 0, []
        for _ in range(header.length_of_list()):
            header.skip_padded(header.count())
            shape = [dimensions[header.count()] for _ in range(header.count())]
            header.skip_attributes()
            width = TYPE_BYTES[header.take(">i")]
            header.count()
            begin = header.take(header.offset_format)
            if shape and shape[0] == 0:
                record_bytes.append(width * prod(shape[1:]))
                record_start = min(record_start or begin, begin)
            else:
                fixed_end = max(fixed_end, begin + width * prod(shape))
    if len(record_bytes) > 1:
        padded = sum(_padded(size) for size in record_bytes)
        return max(fixed_end, record_start + records * padded - (_padded(record_bytes[-1]) - record_bytes[-1]))
    return max(fixed_end, record_start + records * sum(record_bytes))


def _padded(size: int) -> int:
    return -(-size // 4) * 4
