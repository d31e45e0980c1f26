"""
ipsets of a namespace.

Lives here: are there any (asked of the kernel), and `ipset save` if there are.
Not here: what its text means (nettrace.parse.ipset).
"""

import errno
import struct

from nettrace.collect.failure import CollectError
from nettrace.collect.modules import has_module
from nettrace.collect.session import Session
from nettrace.collect.tools import find_tool, run_tool
from nettrace.collect.wire import attribute, nfgenmsg
from nettrace.model.ipset import IpSet
from nettrace.model.section import MissingKind
from nettrace.parse.ipset import parse_ipset_save

__all__ = ["read_ipsets"]

# include/uapi/linux/netfilter/ipset/ip_set.h: NFNL_SUBSYS_IPSET, IPSET_CMD_LIST
_LIST = 6 << 8 | 7
_PROTOCOL, _FLAGS = 1, 6
_NET_BYTEORDER = 0x4000
_LIST_SETNAME = 1 << 1
_VERSION = 6  # of the protocol; kernels since 2.6.39 speak it


def read_ipsets(session: Session) -> tuple[IpSet, ...]:
    """Read all sets with their members; none, without a tool, where there are none."""
    if not has_module("ip_set"):
        return ()
    request = (
        nfgenmsg()
        + attribute(_PROTOCOL, bytes([_VERSION]))
        + attribute(_FLAGS | _NET_BYTEORDER, struct.pack(">I", _LIST_SETNAME))
    )
    try:
        names = session.netfilter.dump(_LIST, request)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.EOPNOTSUPP):
            return ()  # this kernel has no ipset
        raise
    if not names:
        return ()
    tool = find_tool("ipset")
    if tool is None:
        raise CollectError(MissingKind.UNSUPPORTED, f"{len(names)} ipsets exist, but ipset is not installed")
    return parse_ipset_save(run_tool(tool, "save"))
