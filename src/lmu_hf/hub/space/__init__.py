"""The demo that people can look at, laid out as a Hub Space: `app.py`, `requirements.txt` and `README.md` go there."""
