"""Labels that a trained classifier gives to texts that have none, so that another may learn from them."""

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import tqdm
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from .heap import Heap
from .tasks.classification import encode_rows, pad_rows

if TYPE_CHECKING:
    from datasets import Dataset


@torch.no_grad()
def label_rows(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    rows: "Dataset",
    batch_size: int = 128,
    mixed_precision: str | None = None,
) -> "Dataset":
    """Texts with the class that a model gives each.

    Args:
        model: a classifier of two or more classes.
        tokenizer: its own; texts are cut at its ``model_max_length``.
        rows: with ``text``, and ``text_pair`` if the model reads pairs.
        batch_size: rows read at once by each process.
        mixed_precision: ``"no"`` or ``"bf16"``; None for what accelerate was launched with.

    Returns:
        In the order of ``rows`` their texts, ``label`` and that label's ``probability``.

    Raises:
        ValueError: the model does not choose one of several classes, or reads pairs where the rows have single texts.
    """
    from datasets import ClassLabel

    config: Any = model.config
    if config.problem_type != "single_label_classification":
        raise ValueError(f"labels come from a choice of one class, not from {config.problem_type}")
    pairs = "text_pair" in rows.column_names
    if pairs is not any("Pair" in name for name in config.architectures):
        raise ValueError(f"{config.architectures[0]} does not read rows of {', '.join(rows.column_names)}")
    how = {"tokenizer": tokenizer, "max_length": tokenizer.model_max_length, "pairs": pairs}
    encoded = rows.map(encode_rows, batched=True, fn_kwargs=how, remove_columns=rows.column_names, desc="Tokenising")
    encoded = encoded.add_column("label", list(range(len(rows))))  # which row it is: a batch's labels say that here
    encoded = encoded.select(np.argsort(encoded.with_format("numpy")["length"][:], kind="stable"))
    accelerator = Accelerator(mixed_precision=mixed_precision)

    def padded(batch: list[dict]) -> dict[str, torch.Tensor]:
        return pad_rows(batch, cast(int, tokenizer.pad_token_id), torch.int64)

    loader: Any = accelerator.prepare_data_loader(DataLoader(cast(Any, encoded), batch_size, collate_fn=padded))
    model = model.eval().to(accelerator.device)
    labels, probabilities = np.zeros(len(rows), dtype=np.int64), np.zeros(len(rows), dtype=np.float32)
    for batch in tqdm(Heap().tidied(loader), total=len(loader), desc="Labelling", unit="batch"):
        places = batch.pop("labels")
        with accelerator.autocast():
            logits = model(**batch).logits
        best, places = accelerator.gather_for_metrics((logits.float().softmax(-1).max(-1), places))
        labels[places.cpu()], probabilities[places.cpu()] = best.indices.cpu(), best.values.cpu()
    names = [config.id2label[number] for number in range(len(config.id2label))]
    texts = ["text", "text_pair"] if pairs else ["text"]
    labelled = (
        rows.select_columns(texts).add_column("label", labels.tolist()).cast_column("label", ClassLabel(names=names))
    )
    return labelled.add_column("probability", probabilities.tolist())
