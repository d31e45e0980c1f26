"""
iptables-save text to the model and back.

Lives here: the functions that other packages call.  Text as iptables 1.8.9 prints it comes
back byte for byte, from both back ends and both families; another spelling of the same (a
newer iptables, a person) comes back in 1.8.9's.  What nettrace does not understand to the
last option is UnknownMatch or UnknownTarget with its text.
Not here: how it is done (nettrace.parse.xt), running iptables (nettrace.collect).
"""

from nettrace.parse.xt.chain import parse_chain
from nettrace.parse.xt.extensions import extension_options
from nettrace.parse.xt.matches_header import ICMP_NAMES
from nettrace.parse.xt.options import Option
from nettrace.parse.xt.rule import parse_rule, rule_args, rule_from_args, rule_text
from nettrace.parse.xt.save import parse_save, save_text

__all__ = [
    "ICMP_NAMES",
    "Option",
    "extension_options",
    "parse_chain",
    "parse_rule",
    "parse_save",
    "rule_args",
    "rule_from_args",
    "rule_text",
    "save_text",
]
