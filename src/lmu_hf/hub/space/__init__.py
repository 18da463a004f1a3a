"""The demo in a browser, laid out as a Hub Space: `app.py`, `requirements.txt` and `README.md` go there.

An application, as the command is: it may import every wing but `cli`, and no wing imports it. A tab is a module.
"""
