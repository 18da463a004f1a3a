"""Writing a saved model as files for other runtimes, compared with the model."""

import argparse
import json
import logging
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel

from .. import auto_lmu
from ..common.errors import TOKENIZER, InputError, loading
from ..common.staging import written_together
from ..hub.export import differences, export, graphs, load_onnx
from ..hub.export_int8 import Loss, measure, quantise
from ..hub.export_web import GRAPHS, QUANTISED, lay_out
from .results import give

RECORD = "export.json"


def export_model(args: argparse.Namespace) -> dict[str, float]:
    """Load, export, compare, record and print."""
    with loading("model", args.model):
        [kind, *_] = AutoConfig.from_pretrained(args.model).architectures
        model = getattr(auto_lmu, kind).from_pretrained(args.model)
    # It says of every package that it could have used that it is not there.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    is_web = args.format == "web"
    with written_together(args.folder, RECORD) as staged:
        folder = staged / GRAPHS if is_web else staged
        paths = export(model, folder, "onnx" if is_web else args.format)
        torch.manual_seed(0)
        found = {} if args.format == "pt2" else differences(model, folder)
        losses = _quantised(model, paths, args) if args.int8 else {}
        if is_web:
            with loading("tokenizer or image processor", args.model):
                lay_out(model, args.model, staged, "q8" if args.int8 else "fp32")
        files = _described(staged, paths, found, losses)
        record = {"model": args.model, "format": args.format, "files": files, "packages": _packages(args.format)}
        (staged / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    lines = []
    for name, said in files.items():
        stem = Path(name).stem
        error = f", within {found[stem]:.1e} of the model" if stem in found else ""
        loss = next((f", {loss}" for path, loss in losses.items() if path.stem == stem), "")
        lines.append(f"{args.folder / name}: {said['bytes']:,} bytes{error}{loss}")
    give(args, [*lines, f"{args.folder / RECORD}: what was measured, with which versions"], record)
    if found and not max(found.values()) <= args.tolerance:
        raise SystemExit(f"a number differs by {max(found.values()):.1e}, more than --tolerance {args.tolerance:.1e}")
    return found


def _quantised(model: PreTrainedModel, paths: list[Path], args: argparse.Namespace) -> dict[Path, Loss]:
    """A file of eight bits beside each file, and its loss."""
    tokenizer = None
    if args.sample is not None:
        if model.config.vocab_size is None:
            raise InputError(f"--sample has no effect on {args.model}, which reads no text")
        with loading("tokenizer", args.model, TOKENIZER):
            tokenizer = AutoTokenizer.from_pretrained(args.model)
    made, losses = graphs(model), {}
    for path in paths:
        small = quantise(path, model, QUANTISED if args.format == "web" else "_int8")
        losses[small] = measure(made[path.stem], load_onnx(path), load_onnx(small), args.sample, tokenizer)
    return losses


def _described(
    folder: Path, paths: list[Path], found: dict[str, float], losses: dict[Path, Loss]
) -> dict[str, dict[str, Any]]:
    """What the folder says of each of its files: how large it is, and how near to the model."""
    files: dict[str, dict[str, Any]] = {}
    for path in (*paths, *losses):
        said: dict[str, Any] = {"bytes": path.stat().st_size}
        if path.stem in found:
            said["largest_difference"] = found[path.stem]
        files[path.relative_to(folder).as_posix()] = said | (asdict(losses[path]) if path in losses else {})
    return files


def _packages(file_format: str) -> dict[str, str]:
    names = ("torch", "transformers", *(() if file_format == "pt2" else ("onnx", "onnxruntime", "onnxscript")))
    return {name: version(name) for name in names}
