"""Put a finished run into the box: `src/lmu_hf/pretrained_models/NAME`, with its card, and into the manifest.

    python report/ship.py runs/psmnist-perm0-seed0 lmu-psmnist
    python report/ship.py runs/lmu-small-en-seed1 lmu-small-en --half
    python report/ship.py --cards                                       # writes the cards anew, and nothing else

Weights are written in half precision where --half says so; they are read in float32 all the same. The rows of a run
that are nobody's to pass on do not come along: the card shows an example of its kind.
"""

import hashlib
import json
import shutil
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from lmu_hf.cli.failures import script
from lmu_hf.cli.flags import ScriptParser
from lmu_hf.common.record import RunRecord
from lmu_hf.common.staging import folder_written_whole, write_text
from lmu_hf.hub.card import Shown, draw_picture, picture_of, render
from lmu_hf.hub.folder import MODEL_FILES
from lmu_hf.hub.records import as_json, without_example
from lmu_hf.shipped import FOLDER, MANIFEST

RECORDS = Path(__file__).parents[1] / "records"
COLOURS = 128  # of a picture
LARGEST = 25 * 2**20  # bytes of all models in the box


def ship(run: Path, name: str, half: bool) -> Path:
    """Lay out the folder, and say in the manifest what its files are.

    Raises:
        ValueError: the box would be larger than it may be.
    """
    record = without_example(RunRecord.read(run))
    folder = FOLDER / name
    with folder_written_whole(folder) as staged:
        (staged / "model").mkdir(parents=True)
        for path in sorted((run / "model").iterdir()):
            if path.name == "tokenizer.json":  # as it is, a third of it is indentation
                content = json.loads(path.read_text(encoding="utf-8"))
                write_text(staged / "model" / path.name, json.dumps(content, ensure_ascii=False, separators=(",", ":")))
            elif path.name in MODEL_FILES and path.suffix != ".safetensors":
                shutil.copyfile(path, staged / "model" / path.name)
        weights = load_file(run / "model" / "model.safetensors")
        if half:
            weights = {key: value.half() if value.dtype == torch.float32 else value for key, value in weights.items()}
        target = staged / "model" / "model.safetensors"
        save_file(weights, target, metadata={"format": "pt"})
        target.chmod(0o644)  # safetensors lets nobody else read it
        write_text(staged / "run.json", as_json(record))
        write_card(run, record, staged, name)
        others = [path for path in FOLDER.rglob("*") if path.is_file() and folder not in path.parents]
        if (size := sum(path.stat().st_size for path in others)) > LARGEST:
            raise ValueError(
                f"the box would hold {size:,} bytes, more than {LARGEST:,}: ship {name} with --half, or less"
            )
    enter(name)
    return folder


def write_card(run: Path, record: RunRecord, folder: Path, name: str) -> None:
    """Write a model's card and the picture that it shows into a folder."""
    if (picture := picture_of(record)) is not None:
        if draw_picture(run, folder / "figures" / picture) is None:
            raise ValueError(f"{run} has no {picture}, which the card shows")
        with Image.open(
            folder / "figures" / picture
        ) as drawn:  # lines and words need few colours: a third of the bytes
            few = drawn.quantize(COLOURS, method=Image.Quantize.FASTOCTREE)
        few.save(folder / "figures" / picture, optimize=True)
    write_text(folder / "README.md", str(render(Shown(record), name, in_box=True)).rstrip() + "\n")


def write_cards_anew() -> None:
    """Write the card of every model of the box from its record; a learning curve is drawn from the run in records/."""
    for name in sorted(json.loads(MANIFEST.read_text(encoding="utf-8"))):
        folder = FOLDER / name
        record = RunRecord.read(folder)
        known = [path for path in RECORDS.glob(f"*-seed{record.seed}") if RunRecord.read(path).recipe == record.recipe]
        same = [path for path in known if without_example(RunRecord.read(path)) == record]
        write_card(next(iter(same), folder), record, folder, name)
        enter(name)


def enter(name: str) -> None:
    """Say in the manifest what the files of a model's folder are."""
    folder = FOLDER / name
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    known = json.loads(MANIFEST.read_text(encoding="utf-8")) if MANIFEST.is_file() else {}
    known[name] = {file: hashlib.sha256(path.read_bytes()).hexdigest() for file, path in files.items()}
    write_text(MANIFEST, json.dumps(dict(sorted(known.items())), indent=2) + "\n")


@script
def main(argv: list[str] | None = None) -> None:
    """Ship one run."""
    parser = ScriptParser(__doc__)
    parser.add_argument("run", type=Path, nargs="?", help="the finished run")
    parser.add_argument("name", nargs="?", help="what the model is called in the box")
    parser.add_argument("--cards", action="store_true", help="write the cards of the box anew, and nothing else")
    parser.add_argument("--half", action="store_true", help="write float32 weights in half precision")
    args = parser.parse_args(argv)
    if args.cards == (args.name is not None):
        parser.error("give a run and a name, or --cards")
    if args.cards:
        write_cards_anew()
        return
    folder = ship(args.run, args.name, args.half)
    print(f"{folder}: {sum(path.stat().st_size for path in folder.rglob('*') if path.is_file()):,} bytes")


if __name__ == "__main__":
    main()
