"""Labels that a trained classifier gives to texts that have none, so that another may learn from them."""

from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import tqdm
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from .heap import Heap
from .tokenised import LONGEST, by_length, pad_rows, tokenised

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
    # A saved config names the class of its head; the classes that read two texts have Pair in their name.
    if pairs is not any("Pair" in name for name in config.architectures):
        raise ValueError(f"{config.architectures[0]} does not read rows of {', '.join(rows.column_names)}")
    texts = rows.select_columns(["text", "text_pair"] if pairs else ["text"])
    numbered = texts.add_column("label", list(range(len(rows))))  # which row it is: a batch's labels say that here
    longest = min(tokenizer.model_max_length, LONGEST)
    # Rows of like length stand together, which keeps padding short. The numbers above undo this order.
    encoded = by_length(tokenised("the texts", numbered, tokenizer, longest))
    accelerator = Accelerator(mixed_precision=mixed_precision)
    padded = partial(pad_rows, pad_token_id=cast(int, tokenizer.pad_token_id), dtype=torch.int64)
    loader: Any = accelerator.prepare_data_loader(DataLoader(cast(Any, encoded), batch_size, collate_fn=padded))
    model = model.eval().to(accelerator.device)
    labels, probabilities = np.zeros(len(rows), dtype=np.int64), np.zeros(len(rows), dtype=np.float32)
    for batch in tqdm(Heap().tidied(loader), total=len(loader), desc="Labelling", unit="batch"):
        read = batch.pop("labels")
        with accelerator.autocast():
            logits = model(**batch).logits
        # Drops the rows that the loader repeats to give every process as many. Softmax in float32: bf16 has 8 bits.
        best, read = accelerator.gather_for_metrics((logits.float().softmax(-1).max(-1), read))
        labels[read.cpu()], probabilities[read.cpu()] = best.indices.cpu(), best.values.cpu()
    names = [config.id2label[number] for number in range(len(config.id2label))]
    labelled = texts.add_column("label", labels.tolist()).cast_column("label", ClassLabel(names=names))
    return labelled.add_column("probability", probabilities.tolist())
