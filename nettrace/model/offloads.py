"""
What devices do in the kernel's place.

Lives here: whether a device finishes the checksums of what it sends.
Not here: the devices (links).
"""

from msgspec import Struct

__all__ = ["DeviceOffloads"]


class DeviceOffloads(Struct, frozen=True, kw_only=True):
    """
    ``ethtool -k DEVICE``.

    ``tx_checksums``: any of tx-checksum-ipv4, -ipv6, -ip-generic is on, so that a packet may be handed to
    the device with a checksum that is not finished (CHECKSUM_PARTIAL).
    """

    device: str
    tx_checksums: bool
