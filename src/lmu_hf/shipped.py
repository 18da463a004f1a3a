"""The few trained models in the box: `lmu_hf.pretrained("lmu-psmnist")` gives a folder that every loader reads.

Each is laid out as a run folder is: ``model/`` with weights and config, ``run.json`` with how they came about, and
``README.md``, its card. Their manifest says what each file must be.
"""

import json
from functools import cache
from hashlib import sha256
from pathlib import Path

FOLDER = Path(__file__).with_name("pretrained_models")
MANIFEST = FOLDER / "manifest.json"


@cache
def manifest() -> dict[str, dict[str, str]]:
    """By name of a model, the sha256 of each of its files, by the file's path from the model's folder on."""
    return json.loads(MANIFEST.read_text(encoding="utf-8"))


def bare_name(model: str) -> str:
    """The name of a model that came with the package, given its folder; any other name or folder as it is."""
    folder = Path(model).parent
    return folder.name if folder.parent == FOLDER else model


def pretrained(name: str) -> str:
    """The folder of a trained model that came with the package.

    ``AutoModel.from_pretrained(lmu_hf.pretrained("lmu-psmnist"))`` loads it without a network, as do pipelines and
    tokenizers; ``lmu-hf`` takes the bare name wherever it asks for a model.

    Args:
        name: of the model, as ``lmu-psmnist``.

    Raises:
        ValueError: no model of that name came with the package, or one of its files is missing or not what it was.
    """
    if name not in manifest():
        raise ValueError(f"no model {name!r} came with this package; there are {', '.join(manifest())}")
    for file, wanted in manifest()[name].items():
        path = FOLDER / name / file
        if not path.is_file() or sha256(path.read_bytes()).hexdigest() != wanted:
            raise ValueError(f"{path} is {'damaged' if path.exists() else 'missing'}: install lmu-hf again")
    return str(FOLDER / name / "model")
