"""Write a saved model as ONNX files, and compare them with it.

    lmu-hf export runs/opinions-seed0/model opinions-onnx       # model.onnx
    lmu-hf export ORG/lmu-python lm-onnx                        # prompt.onnx and step.onnx
    lmu-hf export runs/dates-seed0/model dates --format pt2     # torch.export programs
    lmu-hf export runs/opinions-seed0 web --format web --int8   # what transformers.js reads, in eight bits too

Every graph takes any batch and any length; a generator's step takes its memories and returns the new ones. Each ONNX
file is run by onnxruntime on batches of 1 and 7 and lengths of 1, 63 and 2048, and the command fails where a number
differs by more than --tolerance. --int8 also writes files with weights of eight bits and measures what that costs: on
the text of --sample, or on made-up inputs. All that was measured is kept in FOLDER/export.json, and --json prints it.
"""

import argparse
from pathlib import Path

from ..flags import POSITIVE, ScriptParser, manual_of
from ..results import add_json

FORMATS = ("onnx", "pt2")  # those of lmu_hf.hub.export, which a test compares
LAYOUTS = ("web",)  # of ONNX files, with what else their reader needs


def parse_args(argv: list[str] | None = None, manual: str | None = None) -> argparse.Namespace:
    """The verb's flags."""
    parser = ScriptParser(manual_of(__doc__, manual), "export")
    parser.add_argument("model", help="a run folder, a saved model's folder, its name on the Hub or in the box")
    text = "folder to write the files to (default: here, by the names of the run and the format: opinions-seed0-onnx)"
    parser.add_argument("folder", type=Path, nargs="?", help=text)
    output = parser.group("output")
    output.add_argument(
        "--format", choices=[*FORMATS, *LAYOUTS], default="onnx", help="format of the files (default: %(default)s)"
    )
    text = "largest difference of a number from the model's (default: %(default)s)"
    output.add_argument("--tolerance", type=POSITIVE, default=1e-4, help=text)
    text = "also write files with weights of eight bits, and measure their loss (default: off)"
    output.add_argument("--int8", action="store_true", help=text)
    text = "file of text that the loss of --int8 is measured on (default: made-up inputs)"
    output.add_argument("--sample", type=Path, metavar="PATH", help=text)
    add_json(parser)
    args = parser.parse_args(argv)
    if args.folder is None:
        named = Path(args.model).absolute()
        args.folder = Path(f"{named.parent.name if named.name == 'model' else named.name}-{args.format}")
    if args.format == "pt2":
        because = f"files of --format {args.format} are not compared with the model, and keep their 32 bits"
        parser.refuse(args, "tolerance", "int8", "sample", because=because)
    if not args.int8:
        parser.refuse(args, "sample", because="it measures what --int8 costs")
    return args


def start(args: argparse.Namespace) -> dict[str, float]:
    """Load, export, compare, and print; the largest difference of each file."""
    from ..exporting import export_model

    return export_model(args)
