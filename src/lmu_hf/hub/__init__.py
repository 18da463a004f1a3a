"""How a finished run is shown and shared: card, folder, push and export. Needs the extra ``train``."""
