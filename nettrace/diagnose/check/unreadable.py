"""
Is a name unknown because it is not there, or because what would tell could not be read?

Lives here: the sections in which a target text is looked up, and which of them are missing.
"""

from nettrace.model.section import Missing, MissingKind, SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace.parse.target import Target, parse_target

__all__ = ["unreadable"]

#: Kind of target -> the objects that know its name; None for a bare name.
_OBJECTS: dict[str | None, tuple[str, ...]] = {
    "pod": ("pods",),
    "container": ("pods",),
    "svc": ("services",),
    "node": ("nodes",),
    None: ("pods", "services", "nodes"),
}


def unreadable(snapshot: Snapshot, *texts: str) -> str:
    """
    Return which sections would tell who *texts* are and could not be read, "" if all could.

    Objects that were never given count for what can only be an object.
    """
    found: dict[str, None] = {}
    for text in texts:
        target = parse_target(text)
        keys = [SectionKey("", f"kube/{name}") for name in _OBJECTS.get(target.kind, ())]
        keys += [
            SectionKey(name, section) for name in snapshot.namespaces for section in ("addresses", "sockets")
        ]
        for key in keys:
            section = snapshot.section(key)
            if isinstance(section, Missing) and _counts(target, key, section):
                found[f"{key} could not be read: {section.reason or section.kind}"] = None
    listed = list(found)
    more = f" and {len(listed) - 3} more" if len(listed) > 3 else ""
    return "; ".join(listed[:3]) + more


def _counts(target: Target, key: SectionKey, section: Missing) -> bool:
    if section.kind is MissingKind.NOT_READ:
        return False
    if section.kind is MissingKind.UNSUPPORTED and not key.netns:
        return target.kind in ("pod", "svc")
    return True
