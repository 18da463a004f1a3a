"""The folder that transformers.js reads: ONNX files in ``onnx/``, and beside it what makes a model's inputs."""

import json
from pathlib import Path

from transformers import AutoImageProcessor, AutoTokenizer, PreTrainedModel

from lmu_hf.images_lmu import LMUForImageClassification

GRAPHS = "onnx"  # the subfolder that transformers.js looks for
QUANTISED = "_quantized"  # what it adds to a file's name for dtype "q8"


def lay_out(model: PreTrainedModel, source: str, folder: Path, dtype: str = "fp32") -> list[Path]:
    """Write the config, and the tokenizer or image processor, that transformers.js reads beside ``onnx/``.

    Args:
        model: that is exported.
        source: the folder or name that it was loaded from.
        folder: the one that is laid out.
        dtype: which files transformers.js takes unless it is told otherwise: ``"fp32"`` or ``"q8"``.

    Returns:
        The files that it wrote.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = json.loads(model.config.to_json_string())
    config.pop("auto_map", None)  # Python files do not come along
    config["transformers.js_config"] = {"dtype": dtype}
    path = folder / "config.json"
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    written = [str(path)]
    if isinstance(model, LMUForImageClassification):
        written += AutoImageProcessor.from_pretrained(source).save_pretrained(folder)
    elif model.config.vocab_size is not None:
        written += AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    return [Path(path) for path in written]
