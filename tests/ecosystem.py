"""Run what other tools make of a model of the family, in an environment of its own: `make ecosystem`.

python tests/ecosystem.py --output records/ecosystem.json     # some ten minutes
python tests/ecosystem.py --reuse -- -k captum                # the environment as it is, and words for pytest

The environment is made below build/matrix, from constraints.txt and the extra `ecosystem`. A tool whose tests were left
out counts as one that failed. With --output the record is written that docs/works_with.md shows.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import matrix

EXTRA = "ecosystem"


class Tool(NamedTuple):
    """What is tested with a tool.

    Args:
        what: in a few words.
        tests: the file of its tests, and what their names begin with.
    """

    what: str
    tests: str


TOOLS = {
    "peft": Tool("LoRA before and after merging", "test_adapted.test_lora"),
    "trl": Tool("fine-tuning on chats, preferences and rewards", "test_trl."),
    "torchao": Tool("weights of 8 bits: near the model, streams", "test_adapted.test_torchao"),
    "optimum-quanto": Tool("weights of 8 bits: near the model", "test_adapted.test_quanto"),
    "bitsandbytes": Tool("linear layers of 8 bits: near the model", "test_adapted.test_bitsandbytes"),
    "lightning": Tool("training, checkpoint, loading", "test_works_with.test_lightning"),
    "skorch": Tool("`fit`, `score`, `predict_proba`", "test_works_with.test_skorch"),
    "captum": Tool("integrated gradients sum to the change of the logit", "test_works_with.test_captum"),
    "shap": Tool("values of the steps sum to the prediction", "test_works_with.test_shap"),
    "sentence-transformers": Tool("embeddings are the mean hidden state", "test_works_with.test_sentence"),
    "setfit": Tool("learns from eight texts", "test_works_with.test_setfit"),
    "lm-eval": Tool("log-likelihoods are the model's", "test_works_with.test_lm_eval"),
    "wandb": Tool("every training loss, offline", "test_works_with.test_trackers_get_every_loss[wandb]"),
    "trackio": Tool("every training loss", "test_works_with.test_trackers_get_every_loss[trackio]"),
    "openvino": Tool("logits of the ONNX file", "test_works_with.test_openvino"),
    "onnxruntime": Tool("ONNX files for the web, read by Node", "test_export_web."),
    "openai": Tool("completions, chats and streams of `lmu-hf serve`", "test_serving."),
    "optuna": Tool("`lmu-hf tune`", "test_tuning."),
}
# Of no tool alone: transformers' own exporters and remote code, the guides' commands, the site.
OTHERS = ("tests/test_exporters.py", "tests/test_remote_code.py", "tests/test_guides.py", "tests/test_docs_site.py")
FILES = sorted({f"tests/{tool.tests.partition('.')[0]}.py" for tool in TOOLS.values()} | {*OTHERS})


def versions(python: Path) -> dict[str, str]:
    """The release of each tool that is installed."""
    asked = "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))"
    said = subprocess.run([python, "-c", asked], capture_output=True, text=True, check=True).stdout
    found = {name.lower().replace("_", "-"): version for name, version in json.loads(said).items()}
    return {name: found[name] for name in TOOLS if name in found}


def run_tests(python: Path, words: list[str]) -> tuple[dict[str, Counter], bool]:
    """Run the tests; how each tool's ended, and whether any test failed."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        asked = words or ["--numprocesses", "2", "--dist", "worksteal", *FILES]
        command = [python, "-m", "pytest", f"--junitxml={report}", *asked]
        status = subprocess.run(command, cwd=matrix.PROJECT, env=environment, check=False).returncode
        if status not in (0, 1):
            raise SystemExit(f"pytest ended with status {status} before it could count its tests")
        cases = list(ElementTree.parse(report).iter("testcase"))
    counts: dict[str, Counter] = {}
    for name, tool in TOOLS.items():
        ours = [case for case in cases if _name(case).startswith(tool.tests)]
        counts[name] = Counter(_outcome(case) for case in ours)
    return counts, status != 0


def _name(case: ElementTree.Element) -> str:
    return f"{case.get('classname', '').rpartition('.')[2]}.{case.get('name')}"


def _outcome(case: ElementTree.Element) -> str:
    found = {part.tag for part in case}
    if found & {"failure", "error"}:
        return "failed"
    return "skipped" if "skipped" in found else "passed"


def main(argv: list[str] | None = None) -> int:
    """Install, run, print, write; 0 if every tool was tried and no test failed."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter, allow_abbrev=False)
    parser.add_argument("--reuse", action="store_true", help="use an environment that is there as it is")
    parser.add_argument("--output", type=Path, help="write the result to this JSON file")
    argv = sys.argv[1:] if argv is None else argv
    ours, words = (argv[: argv.index("--")], argv[argv.index("--") + 1 :]) if "--" in argv else (argv, [])
    args = parser.parse_args(ours)
    if args.output and words:
        parser.error("--output is the record of all tests: leave out words for pytest")
    python = matrix.build("pinned", [], args.reuse, f"{matrix.TOOLS},{EXTRA}", EXTRA)
    releases, (counts, has_failed) = versions(python), run_tests(python, words)
    tried = {name: counted for name, counted in counts.items() if counted or not words}
    for name, counted in tried.items():
        print(name, releases.get(name), dict(counted), sep=", ")
    if args.output:
        tools = {
            name: {"version": releases.get(name), "what": TOOLS[name].what, "tests": dict(counted)}
            for name, counted in tried.items()
        }
        record = {"commit": matrix.commit(), "tools": tools}
        args.output.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return 1 if has_failed or not all(counted["passed"] for counted in tried.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
