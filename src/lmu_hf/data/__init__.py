"""From files and data sets, as people have them, to rows, and from rows to batches. Needs the extra ``train``."""
