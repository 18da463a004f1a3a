"""The shop window: how a finished run is shown and shared. Needs the extra ``train``."""
