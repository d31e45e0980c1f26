"""Tests of nettrace.parse, and the rules they draw."""
