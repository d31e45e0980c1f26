"""
The language of iptables-save, one subject a file; nettrace.parse.iptables is the door.

words: blanks and quotes.  options: ``--name value`` with negation.  values: addresses, ports,
marks.  matches*, targets*: one reader and one writer each.  loose: what a person may type.
rule, chain, save: a rule, a chain's listing, a whole dump.

The rule of all of them: text as iptables 1.8.9 prints it comes back byte for byte; the same
meaning in another spelling comes back in 1.8.9's; what is not understood to the last option
is kept as text, never guessed.
"""
