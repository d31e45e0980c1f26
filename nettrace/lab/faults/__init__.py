"""
Causes of the catalogue, injected into a lab and taken back.

Lives here: for each cause what is wrong with a node that has it, as Changes computed from the
lab as it is (``node``, ``kube_proxy``), and doing it and undoing it (``inject``).
Not here: finding causes (nettrace.diagnose), repairing them (nettrace.app).
"""
