"""
IPsec of a namespace: policies, defaults and states by NETLINK_XFRM.

Lives here: the messages as model types.  A dump of states holds their keys: they are not looked at.
Not here: what a packet makes of a policy (nettrace.walk.xfrm).
Sources: include/uapi/linux/xfrm.h, net/xfrm/xfrm_user.c.

Opening the family where xfrm_user is not loaded loads it, so a namespace is asked only if the kernel's own
socket of that family is there.
"""

import errno
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from nettrace.collect.failure import CollectError
from nettrace.collect.session import Session
from nettrace.collect.wire import NETLINK_XFRM, attributes, text
from nettrace.model.protocol import base_protocol
from nettrace.model.section import MissingKind
from nettrace.model.xfrm import DIRECTIONS, Xfrm, XfrmPolicy, XfrmState, XfrmTemplate

__all__ = ["read_xfrm"]

_GETSA, _GETPOLICY, _GETDEFAULT = 0x12, 0x15, 0x28
_TMPL, _SEC_CTX, _POLICY_TYPE, _MARK, _IF_ID, _SA_DIR = 5, 8, 16, 21, 31, 33
#: Attributes that begin with an algorithm's name, NUL-terminated; the key follows far behind it.
_ALGORITHMS = (1, 2, 3, 18, 20)  # ALG_AUTH, ALG_CRYPT, ALG_COMP, ALG_AEAD, ALG_AUTH_TRUNC

#: struct xfrm_selector: daddr, saddr, dport, mask, sport, mask, family, prefix lengths, proto, ifindex, user
_SELECTOR = struct.Struct("=16s16s8sHBBB3xiI")
#: struct xfrm_userpolicy_info behind selector, configured and current lifetime: priority, index, dir ...
_POLICY = struct.Struct("=IIBBBB4x")
_POLICY_AT = _SELECTOR.size + 64 + 32
#: struct xfrm_user_tmpl: id (daddr, spi, proto), family, saddr, reqid, mode, share, optional, algorithms
_TEMPLATE = struct.Struct("=16s4sB3xH2x16sIBBBx12x")
#: struct xfrm_usersa_info behind the selector: id (daddr, spi, proto), saddr
_STATE = struct.Struct("=16s4sB3x16s")
#: ... and behind lifetimes, counters and the sequence number: reqid, family, mode, replay window, flags
_STATE_TAIL = struct.Struct("=IHBBB")
_STATE_TAIL_AT = _SELECTOR.size + _STATE.size + 64 + 32 + 12 + 4
#: struct xfrm_user_sec_ctx, before the label
_CONTEXT = 8

_DIRECTIONS = (*DIRECTIONS, *(f"socket {name}" for name in DIRECTIONS))
_ACTIONS = {0: "allow", 1: "block"}
_FLAGS = {1: "localok", 2: "icmp"}
_MODES = {0: "transport", 1: "tunnel", 2: "ro", 3: "in_trigger", 4: "beet", 5: "iptfs"}
_TRANSFORMS = {50: "esp", 51: "ah", 108: "comp", 43: "route2", 60: "hao", 255: "ipsec-any"}
_BLOCK = 1  # XFRM_USERPOLICY_BLOCK

_SOCKETS = Path("/proc/thread-self/net/netlink")
_PFKEY = Path("/proc/thread-self/net/pfkey")


def read_xfrm(session: Session) -> Xfrm:
    """
    Read policies, default actions and states of the calling thread's namespace.

    Nothing where the kernel has no IPsec, or nobody has loaded its interface.  OSError from the kernel.
    """
    if not _is_there():
        if _PFKEY.exists():
            raise CollectError(
                MissingKind.UNSUPPORTED,
                "policies may be set by PF_KEY, and xfrm_user is not loaded to show them",
            )
        return Xfrm()
    asked = session.xfrm
    names = dict(socket.if_nameindex())
    policies = tuple(_policy(payload, names) for payload in asked.dump(_GETPOLICY, b""))
    states = tuple(_state(payload) for payload in asked.dump(_GETSA, b""))
    return Xfrm(policies=policies, states=states, blocks=_blocks(session))


def _is_there() -> bool:
    """Has the kernel a socket of the family in this namespace (netlink_seq_show: port id 0)?"""
    lines = _SOCKETS.read_text().splitlines()[1:]
    return any(line.split()[1:3] == [str(NETLINK_XFRM), "0"] for line in lines)


def _blocks(session: Session) -> tuple[str, ...]:
    """struct xfrm_userpolicy_default; kernels before 5.15 know of none and let pass."""
    try:
        answer = session.xfrm.ask(_GETDEFAULT, bytes(3))
    except OSError as error:
        if error.errno == errno.EINVAL:
            return ()
        raise
    chosen = dict(zip(("in", "fwd", "out"), answer, strict=False))
    return tuple(name for name in DIRECTIONS if chosen.get(name) == _BLOCK)


def _policy(payload: bytes, names: dict[int, str]) -> XfrmPolicy:
    destination, source, ports, family, bits_d, bits_s, proto, index, _ = _SELECTOR.unpack_from(payload)
    priority, number, direction, action, flags, _ = _POLICY.unpack_from(payload, _POLICY_AT)
    dport, dport_mask, sport, sport_mask = struct.unpack(">4H", ports)
    found = attributes(payload, _POLICY_AT + _POLICY.size)
    mark, mask = struct.unpack("=II", found.get(_MARK, bytes(8))[:8])
    kind = found.get(_POLICY_TYPE, b"\0")[0]
    return XfrmPolicy(
        src=f"{_address(source, family)}/{bits_s}",
        dst=f"{_address(destination, family)}/{bits_d}",
        direction=_DIRECTIONS[direction] if direction < len(_DIRECTIONS) else str(direction),
        action=_ACTIONS.get(action, str(action)),
        priority=priority,
        index=number,
        proto=base_protocol(str(proto)) if proto else "",
        sport=sport,
        sport_mask=sport_mask,
        dport=dport,
        dport_mask=dport_mask,
        device=names.get(index, str(index)) if index else "",
        mark=mark,
        mark_mask=mask,
        if_id=_number(found.get(_IF_ID, b"")),
        templates=tuple(_templates(found.get(_TMPL, b""))),
        flags=tuple(word for bit, word in _FLAGS.items() if flags & bit),
        type="sub" if kind else "main",
        context=text(found[_SEC_CTX][_CONTEXT:]) if _SEC_CTX in found else "",
    )


def _templates(data: bytes) -> Iterator[XfrmTemplate]:
    for fields in _TEMPLATE.iter_unpack(data):
        destination, spi, proto, family, source, reqid, mode, _, optional = fields
        yield XfrmTemplate(
            proto=_TRANSFORMS.get(proto, str(proto)),
            mode=_MODES.get(mode, str(mode)),
            src=_end(source, family),
            dst=_end(destination, family),
            spi=int.from_bytes(spi),
            reqid=reqid,
            level="use" if optional else "required",
        )


def _state(payload: bytes) -> XfrmState:
    to, of, _, selected, bits_d, bits_s, _, _, _ = _SELECTOR.unpack_from(payload)
    destination, spi, proto, source = _STATE.unpack_from(payload, _SELECTOR.size)
    reqid, family, mode, _, _ = _STATE_TAIL.unpack_from(payload, _STATE_TAIL_AT)
    found = attributes(payload, _STATE_TAIL_AT + _STATE_TAIL.size + 7 & ~7)
    mark, mask = struct.unpack("=II", found.get(_MARK, bytes(8))[:8])
    return XfrmState(
        src=_address(source, family),
        dst=_address(destination, family),
        proto=_TRANSFORMS.get(proto, str(proto)),
        spi=int.from_bytes(spi),
        mode=_MODES.get(mode, str(mode)),
        reqid=reqid,
        mark=mark,
        mark_mask=mask,
        if_id=_number(found.get(_IF_ID, b"")),
        direction={1: "in", 2: "out"}.get(found.get(_SA_DIR, b"\0")[0], ""),
        selects_src=f"{_address(of, selected)}/{bits_s}" if selected else "",
        selects_dst=f"{_address(to, selected)}/{bits_d}" if selected else "",
        algorithms=tuple(dict.fromkeys(text(found[kind][:64]) for kind in _ALGORITHMS if kind in found)),
    )


def _number(data: bytes) -> int:
    return int.from_bytes(data[:4], "little" if struct.pack("=H", 1)[0] else "big")


def _address(data: bytes, family: int) -> str:
    """An xfrm_address_t; a selector that names no family is IPv4's (copy_from_user_policy)."""
    if family == socket.AF_INET6:
        return socket.inet_ntop(socket.AF_INET6, data)
    return socket.inet_ntop(socket.AF_INET, data[:4])


def _end(data: bytes, family: int) -> str:
    return _address(data, family) if any(data) else ""
