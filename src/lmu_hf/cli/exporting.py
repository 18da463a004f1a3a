"""Writing a saved model as files for other runtimes, compared with the model."""

import argparse
import json
import logging

import torch
from transformers import AutoConfig

from .. import auto_lmu
from ..common.errors import loading
from ..hub.export import differences, export


def export_model(args: argparse.Namespace) -> dict[str, float]:
    """Load, export, compare, and print."""
    with loading("model", args.model):
        [kind] = AutoConfig.from_pretrained(args.model).architectures
        model = getattr(auto_lmu, kind).from_pretrained(args.model)
    # It says of every package that it could have used that it is not there.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    paths = export(model, args.folder, args.format)
    torch.manual_seed(0)
    found = {} if args.format != "onnx" else differences(model, args.folder)
    for path in paths:
        error = f", within {found[path.stem]:.1e} of the model" if path.stem in found else ""
        print(f"{path}: {path.stat().st_size:,} bytes{error}")
    print(json.dumps({"model": args.model, "format": args.format, "differences": found}))
    if found and not max(found.values()) <= args.tolerance:
        raise SystemExit(f"a number differs by {max(found.values()):.1e}, more than --tolerance {args.tolerance:.1e}")
    return found
