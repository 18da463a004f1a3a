"""One module for each verb of ``lmu-hf``: ``parse_args`` reads its flags at once, ``start`` imports what takes time."""
