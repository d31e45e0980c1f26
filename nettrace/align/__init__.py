"""
Prediction beside observation: do the walk and the kernel agree, and if not, where do they part?

Pure.  Not here: making observations (nettrace.observe).
"""
