"""
The path of a packet through the kernel, one stage a file.

Pure: ``walk(snapshot, flow)`` gives a Walk, or the sections it Needs.  No I/O, no clock, no
randomness: where the kernel draws lots the walk branches.
Not here: what should be (nettrace.kube), why it is not (nettrace.diagnose).
"""
