"""
Devices' offloads, as ethtool(8) reads them.

Lives here: SIOCETHTOOL with ETHTOOL_GTXCSUM, for every device of the calling thread's namespace.
Source: net/ethtool/ioctl.c (ethtool_get_one_feature), include/uapi/linux/ethtool.h.
"""

import array
import fcntl
import socket
import struct

from nettrace.model.offloads import DeviceOffloads

__all__ = ["read_offloads"]

_SIOCETHTOOL = 0x8946
_ETHTOOL_GTXCSUM = 0x16
_VALUE = struct.Struct("II")  # struct ethtool_value: cmd, data
_REQUEST = struct.Struct("16sP16x")  # struct ifreq: ifr_name, ifr_data


def read_offloads() -> tuple[DeviceOffloads, ...]:
    """Read what each device does; one that went away meanwhile, or cannot say, is left out."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for _, device in socket.if_nameindex():
            value = array.array("B", _VALUE.pack(_ETHTOOL_GTXCSUM, 0))
            try:
                fcntl.ioctl(control, _SIOCETHTOOL, _REQUEST.pack(device.encode(), value.buffer_info()[0]))
            except OSError:
                continue
            found.append(DeviceOffloads(device=device, tx_checksums=bool(_VALUE.unpack(bytes(value))[1])))
    return tuple(sorted(found, key=lambda one: one.device))
