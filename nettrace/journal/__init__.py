"""
The write-ahead journal: what was changed, and how to go back.

Writes only its own directory, with fsync before the kernel is touched.  Depends on the model,
and on nettrace.collect for what identifies a namespace.
Not here: changing the kernel (nettrace.apply).
"""

from nettrace.journal.book import Journal

__all__ = ["Journal"]
