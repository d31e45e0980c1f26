"""
Errors that a user can do something about.

Lives here: ``UserError``, the one exception that front ends print, and ``Problem``, its text.
"""

__all__ = ["UserError"]


class UserError(Exception):
    """
    Something the user can put right: what, where, and what to do next.

    ``code`` is the exit code (2: could not run; 3: inconclusive).  Printed in rustc's manner:
    lower case, no full stop.
    """

    def __init__(self, what: str, *, where: str = "", hint: str = "", code: int = 2) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint
        self.code = code

    def __str__(self) -> str:
        return "\n".join(
            line
            for line in (
                f"error: {self.what}",
                f"  --> {self.where}" if self.where else "",
                f"help: {self.hint}" if self.hint else "",
            )
            if line
        )
