"""rp-filter-strict: packets that arrive by another way than the one back are dropped."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.causes.published_secondary_iface_asym import crossed
from nettrace.diagnose.look import step_text, subject_of, sysctl, where
from nettrace.model.change import SysctlSet
from nettrace.model.finding import Evidence, Safety
from nettrace.model.step import Verdict

__all__ = ["RP_FILTER_STRICT"]


def _candidates(context: Context) -> Iterator[Candidate]:
    snapshot = context.snapshot
    seen: set[tuple[str, str]] = set()
    for failure in context.failures:
        step = failure.step
        if failure.verdict is not Verdict.REVERSE_PATH_FILTERED or step is None or step.device is None:
            continue
        other_way = crossed(snapshot, failure)
        if (step.netns, step.device) in seen or (other_way is not None and other_way.netns != step.netns):
            continue  # who answers by the wrong uplink is filtered elsewhere, and rightly
        seen.add((step.netns, step.device))
        own = f"net.ipv4.conf.{step.device.replace('.', '/')}.rp_filter"
        values = {name: sysctl(snapshot, step.netns, name) for name in ("net.ipv4.conf.all.rp_filter", own)}
        # the larger of the two holds (include/linux/inetdevice.h, IN_DEV_RPFILTER)
        if values[own] is None or max(v for v in values.values() if v is not None) != "1":
            continue
        place = where(snapshot, step.netns)
        source = step.before.src if step.before is not None else "the source"
        yield Candidate(
            cause="rp-filter-strict",
            netns=step.netns,
            where=place,
            subject=subject_of(snapshot, step.netns),
            message=(
                f"{place} drops what comes in by {step.device} from {source}: "
                "the way back is another device, and rp_filter is strict"
            ),
            changes=(SysctlSet(netns=step.netns, name=own, value="2"),),
            evidence=(
                *(
                    Evidence(ref=f"{step.netns}/sysctls/{name}", text=f"{name} = {value}", note=note)
                    for (name, value), note in zip(
                        values.items(),
                        ("the larger of the two holds: 1 is strict", "of the device"),
                        strict=True,
                    )
                    if value is not None
                ),
                Evidence(
                    ref=step.why.ref if step.why is not None else "",
                    text=step_text(step),
                    note=f"the way back to {source}",
                ),
            ),
            safety=Safety.GUARDED,
            owner="the node's sysctl configuration",
            overwritten="by sysctl --system and by systemd's own defaults, if they say otherwise",
            lasting=(
                f"write {own}=2 to a file in /etc/sysctl.d/ that sorts after systemd's 50-default.conf, "
                "or make the way there and the way back the same"
            ),
            notes=("2 is loose: the source still has to be reachable, by any device",),
        )


RP_FILTER_STRICT = Cause(
    id="rp-filter-strict",
    title="strict reverse-path filtering on an asymmetric path",
    what=(
        "rp_filter is 1 on the receiving device (the larger of conf.all and conf.DEVICE holds): a "
        "packet is dropped unless the route back to its source leaves by the device it came in by."
    ),
    shows="What arrives by one device and would be answered by another is lost; connections time out.",
    dies="When the packet comes in, at the routing decision (fib_validate_source): silently.",
    proof=(
        "IPReversePathFilter in /proc/net/netstat grows; max(conf.all, conf.DEVICE).rp_filter is 1; "
        "`ip route get SOURCE` names another device."
    ),
    repair="sysctl -w net.ipv4.conf.DEVICE.rp_filter=2 (loose: not off)",
    owner="The node's sysctl configuration; systemd sets defaults at boot.",
    source="cilium#13130, calicoctl#426, fedora-coreos-tracker#219, kube-router#511",
    verdicts=frozenset({Verdict.REVERSE_PATH_FILTERED}),
    candidates=_candidates,
)
