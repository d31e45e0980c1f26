"""
Calico's plugin: names and rules as real nodes have them.

The names and hashes are those of iptables-save and `iptables -S` of clusters that people posted: Calico on
AKS (kubenet, two nodes), and Calico with VXLAN and kube-proxy in mode ipvs.
"""

import pytest

from nettrace_plugins.calico.names import limited, policy_chain, policy_set, profile_chain, veth, vtep_mac
from nettrace_plugins.calico.rules import hashes, rules
from nettrace_plugins.calico.static import APPENDED, INSERTED, frame
from nettrace_plugins.calico.workloads import Workload, dispatch_chains, profile_chains, workload_chains

#: Table, chain, encapsulation, hashes of its rules on a real node.
REAL = (
    ("raw", "cali-PREROUTING", "", """
     XFX5xbM8B9qR10JG EWMPb0zVROM-woQp PWuxTAIaFCtsg5Qa fSSbGND7dgyemWU7 ImU0-4Rl2WoOI9Ou
     lV4V2MPoMBf0hl9T"""),
    ("nat", "cali-PREROUTING", "", "r6XmIziWUJsdOK6Z"),
    ("nat", "cali-OUTPUT", "", "GBTAv2p5CwevEyJm"),
    ("nat", "cali-POSTROUTING", "vxlan", "Z-c7XtVd2Bq7s_hA nYKhEzDlr11Jccal e9dnSgSVNmIcpVhP"),
    ("nat", "cali-POSTROUTING", "ipip", "Z-c7XtVd2Bq7s_hA nYKhEzDlr11Jccal SXWvdsbh4Mw7wOln"),
    ("nat", "cali-nat-outgoing", "", "flqWnvo8yq4ULQLa"),
    ("filter", "cali-INPUT", "", """
     FewJpBykm9iJ-YNH hder3ARWznqqv8Va xgOu2uJft6H9oDGF _-d-qojMfHM6NwBo LqmE76MP94lZTGhA"""),
    ("filter", "cali-FORWARD", "", """
     vjrMJCRpqwy5oRoX A_sPAO0mcxbT9mOV 8ZoYfO5HKXWbB3pk jdEuaPBe14V2hutn 12bc6HljsMKsmfr-
     NOSxoaGx8OIstr1z"""),
    ("filter", "cali-OUTPUT", "", """
     Mq1_rAdXXH3YkrzW 69FkRTJDvD5Vu6Vl Fskumj4SGQtDV6GC 1F4VWEsQu0QbRwKf m8Eqm15x1MjD24LD"""),
)  # fmt: skip


def listed(text: str) -> tuple[str, ...]:
    """Words of a text."""
    return tuple(text.split())


@pytest.mark.parametrize(("table", "chain", "encapsulation", "wanted"), REAL)
def test_the_frame_is_felix_own(table: str, chain: str, encapsulation: str, wanted: str) -> None:
    """Each rule has the hash that it has on a real node, which covers its text and those above it."""
    assert hashes(chain, frame(encapsulation)[table][chain]) == listed(wanted)


def test_what_is_put_into_built_in_chains() -> None:
    """The jumps at the head, and the two rules at the end of FORWARD."""
    assert hashes("INPUT", INSERTED["filter"]["INPUT"]) == ("Cz_u1IQiXIMmKD4c",)
    assert hashes("FORWARD", INSERTED["filter"]["FORWARD"]) == ("wUHhoiAYhphO9Mso",)
    assert hashes("POSTROUTING", INSERTED["nat"]["POSTROUTING"]) == ("O3lYWMrLQYEMJtB5",)
    last = hashes("FORWARD*appends*", APPENDED["filter"]["FORWARD"])
    assert last == ("S93hcgKJrXEqnTfs", "mp77cMpurHhyjLrM")


def test_a_pods_chains() -> None:
    """To a pod and from it, without a policy; its profiles; and the dispatch by device."""
    device = "cali112d888c0c2"
    profiles = {"kns.kube-system": True, "ksa.kube-system.metrics-server": False}
    made = workload_chains(Workload(device=device, profiles=tuple(profiles)))
    assert hashes(f"cali-fw-{device}", made[f"cali-fw-{device}"]) == listed(
        """
        gxYrST51OJyfBgWw 6xENQhO2T0QW5LgN O7MDTYmYN54jUWVF pJp4jdAzPgU1geph rM5VAS66uaB9uI7_
        s_9J1YgpafK_gEIJ djdRyha1SrYGGpRJ Agp1xuefUF89n6q7 ctlnSZ9l6AD7YocC ThfJzx8K_BY2PCkD
        """
    )
    assert hashes(f"cali-tw-{device}", made[f"cali-tw-{device}"]) == listed(
        """
        YxaG793HT-1CxTcX 6MWAWkG1GPepwS3w eIp1vw91xx2wo3h9 K1Och8e13hDKqGqa DaY0j0z-ccvgA-ec
        mvAbsTsA6HsCQ9sG Boyr3WCDIS7eKocL 8hG8SflKnG26l5GH
        """
    )
    chains = profile_chains(profiles)
    assert hashes("cali-pri-kns.kube-system", chains["cali-pri-kns.kube-system"]) == (
        "J1TyxtHWd0qaBGK-",
        "QIB6k7eEKdIg73Jp",
    )
    assert hashes("cali-pro-_CVSZITRyIpEmH8AB6H", chains["cali-pro-_CVSZITRyIpEmH8AB6H"]) == (
        "jzJff9OzGIv_OyaY",
    )


def test_dispatch() -> None:
    """Devices one after the other; those whose names begin alike have a chain of their own."""
    names = "cali112d888c0c2 cali26cecacb712 cali55f439ddb0e cali9d7310e16e7 calic5a1f1aa0ed calif6abb148530"
    flat = dispatch_chains(listed(names))
    assert set(flat) == {"cali-from-wl-dispatch", "cali-to-wl-dispatch"}
    assert hashes("cali-from-wl-dispatch", flat["cali-from-wl-dispatch"]) == listed(
        """
        887K6j2m0yTxV8XZ -1f18nv9_J5o_MPL X28EvX2q55aZM8gM CxKCBaJmNdZnWGOY ZPC1pWieGIBIr5A7
        xDvXvF5yVFq7Y1QJ FUqQW1upEuPXcL7s
        """
    )
    tree = dispatch_chains(["cali1a", "cali1b", "cali2c"])
    assert tree["cali-to-wl-dispatch"][0] == "--out-interface cali1+ --goto cali-to-wl-dispatch-1"
    assert [text.split()[-1] for text in tree["cali-to-wl-dispatch-1"]] == [
        "cali-tw-cali1a",
        "cali-tw-cali1b",
        "DROP",
    ]
    assert [len(dispatch_chains(some)["cali-to-wl-dispatch"]) for some in ([], ["cali1a"])] == [1, 2]


def test_policies_with_two_chains_in_a_pods() -> None:
    """A pod that two policies isolate for egress, as the konnectivity agent of AKS is."""
    device = "cali9d7310e16e7"
    outbound = (
        limited("cali-po-", "aaa-allow-konnectivity-agent"),
        policy_chain("po", "kube-system", "konnectivity-agent"),
    )
    assert outbound == ("cali-po-_j5sVgQTfF-APgMw0kN9", "cali-po-_rWDSk9LLgWIl_lpnJE2")
    profiles = ("kns.kube-system", "ksa.kube-system.konnectivity-agent")
    chain = workload_chains(Workload(device=device, outbound=outbound, profiles=profiles))[
        f"cali-fw-{device}"
    ]
    assert hashes(f"cali-fw-{device}", chain) == listed(
        """
        Svp_OJ4-NFXj_B8K nyQj9UO25NH8L91w RYrRXYPy-bhkqZ-v 244AYDVC8bA30rX3 adfSwi8QUHxkHNtG
        8ADQ8Jzsc-6WWcVp ONY2yOu2M6VeLD-L mkYWmkL7qJzTAXcD tO374XarJJbFkIdj Vlfk-qZzqVB0aHTn
        d8bepK0owvYXNWJy F3NrglzuI76G0nM_ YqHk_-9O3SuoCVZ4 LcVVg5nKr902xohB Zs4cI2CEM04i7uaR
        _Ab2B_z60B_QKCV-
        """
    )


def test_names() -> None:
    """Long names are hashed, and fit."""
    assert profile_chain("pri", "ksa.kube-system.coredns-autoscaler") == "cali-pri-_npJ7qTPnQvugDgIE9J"
    assert profile_chain("pro", "kns.calico-system") == "cali-pro-kns.calico-system"
    assert len(policy_set("s", "all()")) == 31
    assert len(veth("default", "web-0")) == 15
    assert vtep_mac("node-a").startswith("66:")


def test_rules_bear_their_hash() -> None:
    """The hash is the first comment."""
    (rule,) = rules("INPUT", ["--jump cali-INPUT"])
    assert "cali:Cz_u1IQiXIMmKD4c" in str(rule)
