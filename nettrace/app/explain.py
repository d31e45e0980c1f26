"""
Explain: the catalogue's words for a cause.

Lives here: looking a cause up by its id, with a near miss named.
"""

from difflib import get_close_matches

from nettrace.app.plugins import Plugins
from nettrace.diagnose.cause import Cause
from nettrace.model.errors import UserError

__all__ = ["explain"]


def explain(plugins: Plugins, cause: str) -> Cause:
    """Return the cause of that id; UserError with the nearest ids if there is none."""
    known = {found.id: found for found in plugins.causes()}
    if cause in known:
        return known[cause]
    near = get_close_matches(cause, known, n=3, cutoff=0.4)
    raise UserError(
        f"no cause is called {cause!r}",
        hint=f"did you mean {' or '.join(near)}?" if near else "`nettrace explain` lists them all",
    )
