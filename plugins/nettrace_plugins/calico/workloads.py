"""
The chains of Felix that are for the pods of one node.

Lives here: the dispatch by device, and each pod's chains to it and from it, with its policies and profiles.
Not here: what is in a policy's chain (policies).
Source: felix/rules/endpoints.go, dispatch.go (a tree by the names' first differing letters), and
policy.go for profiles.
"""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from nettrace_plugins.calico.names import profile_chain, workload_chain
from nettrace_plugins.calico.rules import ACCEPT, PASS, cleared, commented, marked, unmarked

__all__ = ["Workload", "dispatch_chains", "profile_chains", "workload_chains"]

_SET_ACCEPT = f"--jump MARK --set-mark {ACCEPT:#x}/{ACCEPT:#x}"
_UNKNOWN = commented("Unknown interface", "--jump DROP")


class Workload(Struct, frozen=True, kw_only=True):
    """
    A pod of the node.

    ``device`` is the node's end of its veth; ``inbound`` and ``outbound`` are the chains of the
    policies that isolate it, ``profiles`` those of its namespace and service account.
    """

    device: str
    inbound: tuple[str, ...] = ()
    outbound: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()


def dispatch_chains(devices: Sequence[str]) -> dict[str, list[str]]:
    """Return the chains that lead a packet to those of the pod whose device it came by or leaves by."""
    found: dict[str, list[str]] = {}
    for root, side, chain in (
        ("cali-from-wl-dispatch", "--in-interface", "fw"),
        ("cali-to-wl-dispatch", "--out-interface", "tw"),
    ):
        own = []
        for prefix, members in _by_prefix(devices).items():
            leaves = [f"{side} {name} --goto {workload_chain(chain, name)}" for name in members]
            if len(members) == 1:
                own += leaves
                continue
            inner = f"{root}-{prefix.removeprefix(_common(devices))}"
            own.append(f"{side} {prefix}+ --goto {inner}")
            found[inner] = [*leaves, _UNKNOWN]
        found[root] = [*own, _UNKNOWN]
    return found


def _common(names: Sequence[str]) -> str:
    """What all names begin with; of one name all but its last letter."""
    low, high = min(names, default=""), max(names, default="")
    length = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), len(low) - 1)
    return low[: max(length, 0)]


def _by_prefix(names: Sequence[str]) -> dict[str, list[str]]:
    length = len(_common(names)) + 1
    found: dict[str, list[str]] = {}
    for name in sorted(names):
        found.setdefault(name[:length], []).append(name)
    return found


def workload_chains(workload: Workload) -> dict[str, list[str]]:
    """Return the two chains of a pod."""
    return {
        workload_chain("tw", workload.device): _chain(workload.inbound, workload.profiles, "pri"),
        workload_chain("fw", workload.device): _chain(
            workload.outbound,
            workload.profiles,
            "pro",
            commented(
                "Drop VXLAN encapped packets originating in workloads",
                "-p 17 -m multiport --destination-ports 4789 --jump DROP",
            ),
            commented("Drop IPinIP encapped packets originating in workloads", "-p 4 --jump DROP"),
        ),
    }


def _chain(policies: Sequence[str], profiles: Sequence[str], kind: str, *refused: str) -> list[str]:
    lines = [
        "-m conntrack --ctstate RELATED,ESTABLISHED --jump ACCEPT",
        "-m conntrack --ctstate INVALID --jump DROP",
        cleared(ACCEPT),
        *refused,
    ]
    if policies:
        lines.append(commented("Start of policies", cleared(PASS)))
    for chain in policies:
        lines.append(f"{unmarked(PASS)} --jump {chain}")
        lines.append(commented("Return if policy accepted", f"{marked(ACCEPT)} --jump RETURN"))
    if policies:
        lines.append(commented("Drop if no policies passed packet", f"{unmarked(PASS)} --jump DROP"))
    for profile in profiles:
        lines.append(f"--jump {profile_chain(kind, profile)}")
        lines.append(commented("Return if profile accepted", f"{marked(ACCEPT)} --jump RETURN"))
    lines.append(commented("Drop if no profiles matched", "--jump DROP"))
    return lines


def profile_chains(profiles: Mapping[str, bool]) -> dict[str, list[str]]:
    """Return the chains of profiles by name: True for a namespace's, which lets everything pass."""
    found: dict[str, list[str]] = {}
    for profile, allows in profiles.items():
        for kind, direction in (("pri", "ingress"), ("pro", "egress")):
            named = commented(f"Profile {profile} {direction}", _SET_ACCEPT if allows else "")
            found[profile_chain(kind, profile)] = [
                named,
                *([f"{marked(ACCEPT)} --jump RETURN"] if allows else []),
            ]
    return found
