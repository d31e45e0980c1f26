"""A network system of one's own, as a plugin of nettrace: an example."""
