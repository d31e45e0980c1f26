"""
The guided pod flow: why has this pod no address, or one that another has?

Lives here: the use case behind `nettrace debug pod/NS/NAME`: which pod is meant, one check after the other.
Not here: the checks (nettrace.diagnose.guide.pod), answering what they ask (guide_driver).
"""

from collections.abc import Callable

from nettrace.app.context import Context
from nettrace.app.guide_driver import Driver
from nettrace.diagnose.guide.objects import pods
from nettrace.diagnose.guide.pod import PodCase, pod_checks_for
from nettrace.kube.ipam import sandboxes_of
from nettrace.model.errors import UserError
from nettrace.model.guide import Check, CheckState, PodReport
from nettrace.model.kube import Pod
from nettrace.model.section import Missing, SectionKey
from nettrace.parse.target import parse_target

__all__ = ["debug_pod", "pod_case_of"]


def debug_pod(
    context: Context,
    case: PodCase,
    *,
    on_check: Callable[[Check], None] = lambda check: None,
    with_probe: bool = True,
) -> PodReport:
    """
    Go through the checks up to the first cause.

    *on_check* sees every check as soon as it is made.  Real connections, to hostPorts, are made on a
    live *context*, unless *with_probe* is false.
    """
    driver = Driver(context, with_probe=with_probe)
    done: list[Check] = []
    leaf = ""
    for one in pod_checks_for(case):
        found = driver.run(one.run(case))
        done.append(found)
        on_check(found)
        leaf = found.cause if found.state is CheckState.PROBLEM else ""
        if found.state is CheckState.PROBLEM or (one.id == "pod" and found.state is CheckState.UNKNOWN):
            break
    return PodReport(
        pod=case.key, node=case.node, context=context.label, checks=tuple(done), leaf=leaf, live=driver.probes
    )


def pod_case_of(context: Context, text: str) -> PodCase:
    """
    Return the case that a target text names: ``pod/NS/NAME``, or without the namespace a name that is one's.

    A pod without an object is known by its sandbox, where the runtime's CNI cache names it.  UserError
    where there is none, and for a name that several have.
    """
    target = parse_target(text)
    if target.kind != "pod":
        raise UserError(f"{text!r} is no pod", where=text, hint="pod/NAMESPACE/NAME")
    if target.port is not None or target.proto is not None:
        plain = f"pod/{target.namespace}/{target.name}" if target.namespace else f"pod/{target.name}"
        raise UserError(f"{text!r} names a port", where=text, hint=f"a pod's address has none: {plain}")
    context.read_unread([SectionKey("", "kube/pods"), SectionKey("", "kube/nodes")])
    named = [
        pod
        for pod in pods(context.snapshot) or ()
        if pod.name == target.name and target.namespace in (None, pod.namespace)
    ]
    if len(named) == 1:
        return PodCase(pod=named[0], node=named[0].node_name or "")
    if named:
        places = ", ".join(sorted(f"pod/{pod.key}" for pod in named))
        raise UserError(f"{target.name!r} is several pods", where=text, hint=f"write one of {places}")
    return _by_sandbox(context, text, target.namespace, target.name)


def _by_sandbox(context: Context, text: str, namespace: str | None, name: str) -> PodCase:
    context.read_unread([SectionKey(f"node:{node}", "files") for node in context.snapshot.nodes])
    found = {
        (node, one.pod): one
        for node in context.snapshot.nodes
        for one in sandboxes_of(context.snapshot, node)
        if one.pod.partition("/")[2] == name and namespace in (None, one.pod.partition("/")[0])
    }
    if len(found) == 1:
        ((node, key), sandbox) = next(iter(found.items()))
        pod = Pod(name=name, namespace=key.partition("/")[0], node_name=node, uid=sandbox.uid)
        return PodCase(pod=pod, node=node, known=False)
    wanted = f"{namespace}/{name}" if namespace else name
    if found:
        places = ", ".join(f"{key} on {node}" for node, key in sorted(found))
        raise UserError(f"several sandboxes are called {wanted}", where=text, hint=f"there are {places}")
    known = pods(context.snapshot)
    section = context.snapshot.kube.pods
    if known is None and isinstance(section, Missing):
        hint = f"no pods are known ({section.reason or section.kind.value}): --kubeconfig, or --manifests DIR"
    else:
        some = sorted(pod.key for pod in known or ())
        hint = f"pods: {', '.join(some[:8]) or 'none'}" + (
            f" and {len(some) - 8} more" if len(some) > 8 else ""
        )
    raise UserError(f"there is no pod {wanted}", where=text, hint=hint)
