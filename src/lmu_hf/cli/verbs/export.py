"""Write a saved model as ONNX files, and compare them with it.

    lmu-hf export runs/opinions-seed0/model opinions-onnx       # model.onnx
    lmu-hf export ORG/lmu-python lm-onnx                        # prompt.onnx and step.onnx
    lmu-hf export runs/dates-seed0/model dates --format pt2     # torch.export programs

Every graph takes any batch and any length; a generator's step takes its memories and returns the new ones. Each ONNX
file is run by onnxruntime on batches of 1 and 7 and lengths of 1, 63 and 2048, and the command fails where a number
differs by more than --tolerance. It ends with a line of JSON.
"""

import argparse
from pathlib import Path

from ..flags import POSITIVE, ScriptParser, manual_of

FORMATS = ("onnx", "pt2")  # those of lmu_hf.hub.export, which a test compares


def parse_args(argv: list[str] | None = None, manual: str | None = None) -> argparse.Namespace:
    """The verb's flags."""
    parser = ScriptParser(manual_of(__doc__, manual), "export")
    parser.add_argument("model", help="a run folder, a saved model's folder, its name on the Hub or in the box")
    parser.add_argument("folder", type=Path, help="folder to write the files to")
    output = parser.group("output")
    output.add_argument("--format", choices=FORMATS, default="onnx", help="format of the files (default: %(default)s)")
    text = "largest difference of a number from the model's (default: %(default)s)"
    output.add_argument("--tolerance", type=POSITIVE, default=1e-4, help=text)
    args = parser.parse_args(argv)
    if args.format != "onnx":
        parser.refuse(args, "tolerance", because=f"files of --format {args.format} are not compared with the model")
    return args


def start(args: argparse.Namespace) -> dict[str, float]:
    """Load, export, compare, and print; the largest difference of each file."""
    from ..exporting import export_model

    return export_model(args)
