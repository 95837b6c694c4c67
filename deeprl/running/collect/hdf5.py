"""Arrays of an HDF5 file, which may be a stranger's.

Such a file may name other files (external and virtual storage, links), hold pickles (objects, references), claim far more numbers than it
has bytes, or inflate without a bound. None of this is followed: what is no plain array of numbers of a size that fits in memory, in pieces
of the size that they claim, is refused by name, before it is read.
"""

from __future__ import annotations

import math
import zlib
from typing import Any, NamedTuple

import numpy as np

from deeprl.system.machine import available_memory

KINDS = "fiub"
"""NumPy's letters of numbers and flags"""
DEFLATE, SHUFFLE = 1, 2
"""HDF5's numbers of filters. A shuffle keeps the size"""
CHUNK = 1 << 24
"""Bytes that a piece of an array may have, although the array is smaller. h5py's own choice has 2^20 at most"""


class Reader(NamedTuple):
    """Arrays of one group of a file, each checked before it is read."""

    file: Any
    h5py: Any
    path: str

    def __call__(self, name: str, rows: int | None) -> np.ndarray:
        """
        Args:
            rows: that it must have; None: one at least.

        Raises:
            ValueError: it is not an array of numbers in this file, or has another length.
        """
        node, path = self.file, f"{self.path}/{name}"
        for part in path.split("/"):
            links = node.id.links if isinstance(node, self.h5py.Group) else None
            # asked below h5py's own names, because `in` and `get` follow a link into its file
            if not links or not links.exists(part.encode()) or links.get_info(part.encode()).type != self.h5py.h5l.TYPE_HARD:
                raise ValueError(f"{path} is missing, or is a link, which is refused")
            node = node[part]
        if not isinstance(node, self.h5py.Dataset) or node.is_virtual or node.external or node.dtype.kind not in KINDS or not node.shape:
            raise ValueError(
                f"{path} is {getattr(node, 'dtype', 'a group')!s:.100}, or in another file: only plain arrays of numbers are read"
            )
        require_room(path, node.size * max(node.dtype.itemsize, 4))
        if (rows is not None and node.shape[0] != rows) or not node.shape[0]:
            raise ValueError(f"{path} has {node.shape[0]} rows, not {rows}")
        if node.chunks:
            require_chunks(path, node)
        return node[()]

    def below(self, name: str) -> Reader:
        return self._replace(path=f"{self.path}/{name}")


def require_room(what: str, needed: int) -> None:
    """
    Args:
        needed: bytes of numbers, which are copied a few times.

    Raises:
        ValueError: memory has no room for them.
    """
    free = available_memory()
    if free is not None and 4 * needed > free:
        raise ValueError(f"{what} claims {needed:,} bytes of numbers, too many for the {free:,} that are free in memory")


def require_chunks(path: str, node: Any) -> None:
    """HDF5 inflates a chunk to whatever size it has, so that all are inflated here first, up to the size that they claim.

    Raises:
        ValueError: the chunks are much larger than the array, are filtered otherwise than by a shuffle and one deflation, or one of them
            has another size.
    """
    itemsize, plan = node.id.get_type().get_size(), node.id.get_create_plist()
    claimed = math.prod(node.chunks) * itemsize
    if claimed > max(node.size * itemsize, CHUNK):
        raise ValueError(f"{path} has {node.size * itemsize:,} bytes in chunks of {claimed:,}, which is refused")
    filters = [plan.get_filter(index)[0] for index in range(plan.get_nfilters())]
    if not {*filters} <= {DEFLATE, SHUFFLE} or filters.count(DEFLATE) > 1:
        raise ValueError(f"{path} has the filters {filters!s:.40}: only one deflation (gzip) and shuffles are read")
    chunks: list[Any] = []
    node.id.chunk_iter(chunks.append)
    for chunk in chunks:
        size = chunk.size
        if DEFLATE in filters and not chunk.filter_mask >> filters.index(DEFLATE) & 1:
            try:
                size = len(zlib.decompressobj().decompress(node.id.read_direct_chunk(chunk.chunk_offset)[1], claimed + 1))
            except zlib.error as error:
                raise ValueError(f"{path} is damaged: {error}") from error
        if size != claimed:
            raise ValueError(f"{path} has a chunk of {'more' if size > claimed else 'less'} than the {claimed:,} bytes that it claims")
