"""
Text and JSON to the model and back: iptables-save, ipset save, manifests, snapshot files, targets.

Pure: bytes and text in, model types out.  Bad input is a UserError that names place and next step.
Not here: reading files (nettrace.app), evaluating rules (nettrace.walk).
"""
