"""Write a saved model as ONNX files, and compare them with it.

    python scripts/export_onnx.py runs/opinions-seed0/model opinions-onnx       # model.onnx
    python scripts/export_onnx.py ORG/lmu-python lm-onnx                        # prompt.onnx and step.onnx
    python scripts/export_onnx.py runs/dates-seed0/model dates --format pt2     # torch.export programs

Every graph takes any batch and any length; a generator's step takes its memories and returns the new ones. Needs the
`export` extra: pip install 'lmu-hf[export]'. Each ONNX file is run by onnxruntime on batches of 1 and 7 and lengths of
1, 63 and 2048, and the command fails where a number differs by more than --tolerance. It ends with a line of JSON.
"""

import argparse
import json
from pathlib import Path

import torch
from transformers import AutoConfig

import lmu_hf
from lmu_hf.cli.failures import script
from lmu_hf.cli.flags import POSITIVE, ScriptParser
from lmu_hf.common.errors import check_folder, loading
from lmu_hf.hub.export import FORMATS, differences, export


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command's flags."""
    parser = ScriptParser(__doc__)
    parser.add_argument("model", help="a saved model's folder, or its name on the Hub")
    parser.add_argument("folder", type=Path, help="folder to write the files to")
    parser.add_argument("--format", choices=FORMATS, default="onnx", help="format of the files (default: %(default)s)")
    parser.add_argument(
        "--tolerance",
        type=POSITIVE,
        default=1e-4,
        help="largest difference of a number from the model's (default: %(default)s)",
    )
    args = parser.parse_args(argv)
    if args.format != "onnx":
        parser.refuse(args, "tolerance", because=f"files of --format {args.format} are not compared with the model")
    return args


@script
def main(argv: list[str] | None = None) -> dict[str, float]:
    """Load, export, compare, and print."""
    args = parse_args(argv)
    check_folder(args.folder, "folder")
    with loading("model", args.model):
        [kind] = AutoConfig.from_pretrained(args.model).architectures
        model = getattr(lmu_hf, kind).from_pretrained(args.model)
    paths = export(model, args.folder, args.format)
    torch.manual_seed(0)
    found = {} if args.format != "onnx" else differences(model, args.folder)
    for path in paths:
        told = f", within {found[path.stem]:.1e} of the model" if path.stem in found else ""
        print(f"{path}: {path.stat().st_size:,} bytes{told}")
    print(json.dumps({"model": args.model, "format": args.format, "differences": found}))
    if found and not max(found.values()) <= args.tolerance:
        raise SystemExit(f"a number differs by {max(found.values()):.1e}, more than --tolerance {args.tolerance:.1e}")
    return found


if __name__ == "__main__":
    main()
