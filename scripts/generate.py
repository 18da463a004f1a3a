"""Stream text from a trained LMU to the terminal, as it is made: `lmu-hf generate`.

    python scripts/generate.py runs/python-sources-seed0/model
    python scripts/generate.py ORG/NAME --prompt "def main(" --max_new_tokens 400 --temperature 0.7
    echo "import re" | python scripts/generate.py runs/python-sources-seed0/model --prompt -

It has the flags of that verb.
"""

from lmu_hf_cli import run

if __name__ == "__main__":
    run("generate", __doc__)
