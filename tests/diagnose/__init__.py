"""Why, and what to change: on worlds built in code."""
