"""
Expressions of nf_tables as the kernel dumps them, decoded.

Lives here: netlink attributes -> nettrace.model.nft_expr, one function an expression.
Not here: asking the kernel (nft_rules), what its numbers are called (nft_numbers).
Source: include/uapi/linux/netfilter/nf_tables.h and the dump functions in net/netfilter/nft_*.c.
"""

from collections.abc import Callable, Mapping

from nettrace.collect import nft_numbers as n
from nettrace.collect.wire import attributes, be32, be64, each, text
from nettrace.model import nft_expr as e
from nettrace.model import nft_statement as s
from nettrace.model.nft import FAMILIES

__all__ = ["decode_data", "decode_expression", "decode_verdict", "expression_name"]

_Found = Mapping[int, bytes]


def decode_verdict(payload: bytes) -> e.NftVerdict:
    """Decode NFTA_DATA_VERDICT."""
    found = attributes(payload)
    code = be32(found[1])
    known = n.VERDICTS.get(code)
    if known is None:
        known = n.VERDICTS.get(code & 0xFF, str(code))
    return e.NftVerdict(known, text(found[2]) if 2 in found else "", code >> 16 if known == "queue" else 0)


def decode_data(payload: bytes) -> tuple[str, e.NftVerdict | None]:
    """Decode NFTA_DATA: bytes as hexadecimal text, or a verdict."""
    found = attributes(payload)
    if 2 in found:
        return "", decode_verdict(found[2])
    return found.get(1, b"").hex(), None


def expression_name(payload: bytes) -> str:
    """Return the name of an expression."""
    return text(attributes(payload).get(1, b""))


def decode_expression(payload: bytes) -> e.Expression:
    """Decode one expression; UnknownExpr for those that nettrace does not know."""
    found = attributes(payload)
    name = text(found[1])
    decode = _DECODERS.get(name)
    if decode is None:
        return e.UnknownExpr(name)
    try:
        return decode(attributes(found.get(2, b"")))
    except (KeyError, IndexError):  # a newer kernel's: another attribute, or a key beyond the table
        return e.UnknownExpr(name)


def _number(found: _Found, kind: int) -> int:
    return be32(found[kind]) if kind in found else 0


def _register(found: _Found, kind: int) -> int | None:
    return be32(found[kind]) if kind in found else None


def _value(found: _Found, kind: int) -> str:
    return decode_data(found[kind])[0] if kind in found else ""


def _flags(value: int, names: Mapping[int, str]) -> frozenset[str]:
    return frozenset(name for bit, name in names.items() if value >> bit & 1)


def _payload(found: _Found) -> e.Expression:
    base = n.BASES[be32(found[2])]
    offset, length = be32(found[3]), be32(found[4])
    if 5 in found:
        return s.PayloadSetExpr(be32(found[5]), base, offset, length)
    return e.PayloadExpr(be32(found[1]), base, offset, length)


def _meta(found: _Found) -> e.Expression:
    key = n.META[be32(found[2])]
    return s.MetaSetExpr(be32(found[3]), key) if 3 in found else e.MetaExpr(be32(found[1]), key)


def _ct(found: _Found) -> e.Expression:
    key = n.CT[be32(found[2])]
    direction = ("original", "reply")[found[3][0]] if 3 in found else None
    if 4 in found:
        return s.CtSetExpr(be32(found[4]), key, direction)
    return e.CtExpr(be32(found[1]), key, direction)


def _cmp(found: _Found) -> e.Expression:
    return e.CmpExpr(be32(found[1]), n.CMP[be32(found[2])], _value(found, 3))


def _range(found: _Found) -> e.Expression:
    return e.RangeExpr(be32(found[1]), n.CMP[be32(found[2])], _value(found, 3), _value(found, 4))


def _bitwise(found: _Found) -> e.Expression:
    return e.BitwiseExpr(
        sreg=be32(found[1]),
        dreg=be32(found[2]),
        length=be32(found[3]),
        op=n.BITWISE[_number(found, 6)],
        mask=_value(found, 4),
        xor=_value(found, 5),
        data=_value(found, 7),
        sreg2=_register(found, 8),
    )


def _byteorder(found: _Found) -> e.Expression:
    op = ("ntoh", "hton")[be32(found[3])]
    return e.ByteorderExpr(be32(found[1]), be32(found[2]), op, be32(found[4]), be32(found[5]))


def _lookup(found: _Found) -> e.Expression:
    return e.LookupExpr(text(found[1]), be32(found[2]), _register(found, 3), bool(_number(found, 5) & 1))


def _dynset(found: _Found) -> e.Expression:
    inside = list(each(found[10])) if 10 in found else [found[7]] if 7 in found else []
    return e.DynsetExpr(
        set=text(found[1]),
        op=n.DYNSET[be32(found[3])],
        sreg_key=be32(found[4]),
        sreg_data=_register(found, 5),
        timeout=be64(found[6]) if 6 in found else None,
        invert=bool(_number(found, 9) & 1),
        stateful=tuple(expression_name(one) for one in inside),
    )


def _numgen(found: _Found) -> e.Expression:
    kind = ("inc", "random")[be32(found[3])]
    return e.NumgenExpr(be32(found[1]), be32(found[2]), kind, _number(found, 4))


def _hash(found: _Found) -> e.Expression:
    return e.HashExpr(
        dreg=be32(found[2]),
        kind=("jenkins", "symmetric")[_number(found, 7)],
        modulus=be32(found[4]),
        offset=_number(found, 6),
        sreg=_register(found, 1),
        length=_number(found, 3),
        seed=_register(found, 5),
    )


def _fib(found: _Found) -> e.Expression:
    flags = _flags(be32(found[3]), dict(enumerate(n.FIB_FLAGS)))
    return e.FibExpr(be32(found[1]), n.FIB_RESULTS[be32(found[2])], flags)


def _rt(found: _Found) -> e.Expression:
    return e.RtExpr(be32(found[1]), n.RT[be32(found[2])])


def _socket(found: _Found) -> e.Expression:
    return e.SocketExpr(be32(found[2]), n.SOCKET[be32(found[1])], _number(found, 3))


def _exthdr(found: _Found) -> e.Expression:
    op = n.EXTHDR[_number(found, 6)]
    kind, offset, length = found[2][0], _number(found, 3), _number(found, 4)
    if 1 not in found:
        return s.ExthdrSetExpr(sreg=_register(found, 7), op=op, option=kind, offset=offset, length=length)
    present = bool(_number(found, 5) & 1)
    return e.ExthdrExpr(
        dreg=be32(found[1]), op=op, option=kind, offset=offset, length=length, present=present
    )


def _limit(found: _Found) -> e.Expression:
    return e.LimitExpr(
        rate=be64(found[1]),
        unit=be64(found[2]),
        burst=_number(found, 3),
        kind=("packets", "bytes")[_number(found, 4)],
        invert=bool(_number(found, 5) & 1),
    )


def _quota(found: _Found) -> e.Expression:
    consumed = be64(found[4]) if 4 in found else 0
    return e.QuotaExpr(bytes=be64(found[1]), consumed=consumed, invert=bool(_number(found, 2) & 1))


def _connlimit(found: _Found) -> e.Expression:
    return e.ConnlimitExpr(be32(found[1]), bool(_number(found, 2) & 1))


def _immediate(found: _Found) -> e.Expression:
    data, verdict = decode_data(found[2])
    return e.ImmediateExpr(dreg=be32(found[1]), data=data, verdict=verdict)


def _log(found: _Found) -> e.Expression:
    return s.LogExpr(
        prefix=text(found.get(2, b"")),
        group=int.from_bytes(found[1][:2], "big") if 1 in found else None,
        level=_register(found, 5),
        flags=_number(found, 6),
    )


def _nat(found: _Found) -> e.Expression:
    return s.NatExpr(
        kind=("snat", "dnat")[be32(found[1])],
        family=FAMILIES.get(be32(found[2]), str(be32(found[2]))),
        addr_min=_register(found, 3),
        addr_max=_register(found, 4),
        port_min=_register(found, 5),
        port_max=_register(found, 6),
        flags=_flags(_number(found, 7), n.NAT_FLAGS),
    )


def _masq(found: _Found) -> e.Expression:
    flags = _flags(_number(found, 1), n.NAT_FLAGS)
    return s.MasqExpr(port_min=_register(found, 2), port_max=_register(found, 3), flags=flags)


def _redir(found: _Found) -> e.Expression:
    flags = _flags(_number(found, 3), n.NAT_FLAGS)
    return s.RedirExpr(port_min=_register(found, 1), port_max=_register(found, 2), flags=flags)


def _reject(found: _Found) -> e.Expression:
    return s.RejectExpr(n.REJECTS[be32(found[1])], found[2][0] if 2 in found else 0)


def _queue(found: _Found) -> e.Expression:
    def short(kind: int) -> int | None:
        return int.from_bytes(found[kind][:2], "big") if kind in found else None

    flags = short(3) or 0
    return s.QueueExpr(
        number=short(1),
        total=short(2) or 1,
        bypass=bool(flags & 1),
        fanout=bool(flags & 2),
        sreg=_register(found, 4),
    )


def _tproxy(found: _Found) -> e.Expression:
    family = FAMILIES.get(_number(found, 1), "inet")
    return s.TproxyExpr(family=family, addr=_register(found, 2), port=_register(found, 3))


def _objref(found: _Found) -> e.Expression:
    return s.ObjrefExpr(
        kind=_number(found, 1),
        name=text(found.get(2, b"")),
        set=text(found.get(4, b"")),
        sreg=_register(found, 3),
    )


def _synproxy(found: _Found) -> e.Expression:
    mss = int.from_bytes(found.get(1, b"\0\0")[:2], "big")
    return s.SynproxyExpr(mss, found.get(2, b"\0")[0], _number(found, 3))


_DECODERS: Mapping[str, Callable[[_Found], e.Expression]] = {
    "bitwise": _bitwise,
    "byteorder": _byteorder,
    "cmp": _cmp,
    "connlimit": _connlimit,
    "counter": lambda found: s.CounterExpr(),
    "ct": _ct,
    "dup": lambda found: s.DupExpr(addr=_register(found, 1), device=_register(found, 2)),
    "dynset": _dynset,
    "exthdr": _exthdr,
    "fib": _fib,
    "flow_offload": lambda found: s.FlowOffloadExpr(text(found[1])),
    "fwd": lambda found: s.FwdExpr(device=_register(found, 1), addr=_register(found, 2)),
    "hash": _hash,
    "immediate": _immediate,
    "last": lambda found: s.LastExpr(),
    "limit": _limit,
    "log": _log,
    "lookup": _lookup,
    "masq": _masq,
    "match": lambda found: e.XtMatchExpr(text(found[1]), be32(found[2]), found[3].hex()),
    "meta": _meta,
    "nat": _nat,
    "notrack": lambda found: s.NotrackExpr(),
    "numgen": _numgen,
    "objref": _objref,
    "payload": _payload,
    "queue": _queue,
    "quota": _quota,
    "range": _range,
    "redir": _redir,
    "reject": _reject,
    "rt": _rt,
    "socket": _socket,
    "synproxy": _synproxy,
    "target": lambda found: e.XtTargetExpr(text(found[1]), be32(found[2]), found[3].hex()),
    "tproxy": _tproxy,
}
