"""Lay out a finished run for the Hub and, only if told to, push it as one commit: `lmu-hf push`.

    python scripts/push_to_hub.py runs/psmnist-perm0-seed0                       # dry: writes runs/…/hub/ and lists it
    python scripts/push_to_hub.py runs/psmnist-perm0-seed0 --push --repo_id org/lmu-psmnist
    python scripts/push_to_hub.py --cards records model_cards                    # what `make card` runs

It has the flags of that verb.
"""

from lmu_hf_cli import run

if __name__ == "__main__":
    run("push", __doc__)
