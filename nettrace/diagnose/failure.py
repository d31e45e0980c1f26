"""
Where and why a flow fails, in one sentence each.

Lives here: the words for the failing step, which are said even where no cause is found.
"""

from nettrace.diagnose.cause import Context, Failure
from nettrace.diagnose.goal import Judgement
from nettrace.diagnose.look import step_text, where
from nettrace.model.snapshot import Snapshot
from nettrace.model.step import Verdict

__all__ = ["failing_words"]

_LEGS = {
    "request": "the request",
    "reply": "the reply",
    "ack": "the client's ACK",
    "data": "the first full segment of the client",
    "reply-data": "the first full segment of the answer",
    "error": "the ICMP error",
}


def failing_words(context: Context) -> tuple[str, ...]:
    """Return a sentence for each place at which branches miss the goal, the most probable first."""
    words = [_words(context.snapshot, failure) for failure in context.failures]
    met = any(context.goal.judge_path(path) is Judgement.MET for path in context.walk.paths)
    if met and any(failure.path.redrawn for failure in context.failures):
        words.append("a client that waits may get through late: TCP's next SYN, after 1 s, is a new draw")
    return tuple(dict.fromkeys(words))


def _words(snapshot: Snapshot, failure: Failure) -> str:
    path, leg, step = failure.path, failure.leg, failure.step
    if (leg is None or step is None) and path.verdict is Verdict.UNKNOWN:
        return f"nothing can be told: {path.reason}"
    if leg is None or step is None:
        end = path.endpoint
        who = f"{end.address}:{end.port} in {end.netns}" if end is not None else "somebody"
        seen = f", which sees it come from {end.source}" if end is not None and end.source else ""
        return f"it ends as {path.outcome.value} at {who}{seen}"
    what = _LEGS.get(leg.kind, leg.kind)
    place = f"{where(snapshot, step.netns)}" + (f", {step.device}" if step.device else "")
    hook = (step.hook, step.table, step.chain) if step.hook else ()
    at = " ".join(word for word in hook if word)
    reason = leg.reason or path.reason or step_text(step)
    verb = "is not known from" if path.verdict is Verdict.UNKNOWN else "ends on"
    if path.verdict is Verdict.LEFT_SNAPSHOT:
        verb = "leaves the snapshot from"
    return f"{what} {verb} {place}{f' ({at})' if at else ''}: {path.verdict.value}" + (
        f": {reason}" if reason else ""
    )
