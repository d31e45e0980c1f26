"""
Documents as YAML: the same data as JSON.

Lives here: the encoding.  Text that YAML would read as something else is quoted by PyYAML.
"""

import yaml

from nettrace.render.contract import Document
from nettrace.render.json import builtins

__all__ = ["render"]


class _Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper without anchors: a packet that stands twice is written twice."""

    def ignore_aliases(self, data: object) -> bool:
        """Never refer back."""
        return True


def render(document: Document) -> str:
    """Return *document* as YAML, keys in the order of JSON, nothing but ASCII."""
    return yaml.dump(builtins(document), Dumper=_Dumper, sort_keys=False, width=110)
