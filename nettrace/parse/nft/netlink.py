"""
Expressions in the style of ``nft --debug=netlink``: ``[ payload load 4b @ network + 16 => reg 1 ]``.

Lives here: the form for rules that have no other.  Not here: nft's own language (text).
Source: libnftnl's snprintf functions, which this follows where a reader gains by it.
"""

import msgspec

from nettrace.model import nft_expr as e
from nettrace.model import nft_statement as s

__all__ = ["expression_text"]


def expression_text(expr: e.Expression) -> str:
    """Return one expression in brackets."""
    return f"[ {_inside(expr)} ]"


def _inside(expr: e.Expression) -> str:
    match expr:
        case e.PayloadExpr():
            return f"payload load {expr.length}b @ {expr.base} + {expr.offset} => reg {expr.dreg}"
        case e.MetaExpr() | e.CtExpr() | e.RtExpr() | e.SocketExpr():
            return f"{_tag(expr)} load {expr.key} => reg {expr.dreg}"
        case s.MetaSetExpr() | s.CtSetExpr():
            return f"{_tag(expr).removesuffix('_set')} set {expr.key} with reg {expr.sreg}"
        case e.CmpExpr():
            return f"cmp {expr.op} reg {expr.sreg} 0x{expr.data}"
        case e.RangeExpr():
            return f"range {expr.op} reg {expr.sreg} 0x{expr.low} 0x{expr.high}"
        case e.BitwiseExpr(op="mask_xor"):
            return f"bitwise reg {expr.dreg} = ( reg {expr.sreg} & 0x{expr.mask} ) ^ 0x{expr.xor}"
        case e.LookupExpr():
            into = f" dreg {expr.dreg}" if expr.dreg is not None else ""
            return f"lookup reg {expr.sreg} set {expr.set}{into}{' 0x1' if expr.invert else ''}"
        case e.ImmediateExpr():
            shown = verdict_text(expr.verdict) if expr.verdict is not None else f"0x{expr.data}"
            return f"immediate reg {expr.dreg} {shown}"
        case e.UnknownExpr():
            return expr.name
        case _:
            return " ".join([_tag(expr), *_fields(expr)])


def _tag(expr: e.Expression) -> str:
    return str(expr.__struct_config__.tag)


def _fields(expr: e.Expression) -> list[str]:
    found = []
    for name, value in msgspec.structs.asdict(expr).items():
        if value is None or value is False or value in ("", frozenset(), ()):
            continue
        shown = " ".join(sorted(value)) if isinstance(value, frozenset | tuple) else value
        found.append(name if value is True else f"{name} {shown}")
    return found


def verdict_text(verdict: e.NftVerdict) -> str:
    """``accept``, ``jump CHAIN``."""
    return f"{verdict.code} {verdict.chain}".rstrip()
