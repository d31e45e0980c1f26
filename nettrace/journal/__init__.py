"""
The write-ahead journal: what was changed, and how to go back.

Writes only its own directory, with fsync before the kernel is touched.
"""
