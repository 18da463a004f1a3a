"""What the heads of the family share, and the classifier of whole sequences."""

from dataclasses import dataclass
from typing import Any, TypeVar, cast, dataclass_transform

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers.cache_utils import Cache
from transformers.modeling_outputs import BaseModelOutputWithPast, ModelOutput, SequenceClassifierOutput
from transformers.utils import can_return_tuple

from .activations import ACTIVATIONS
from .cache_lmu import CACHE_NAME, one_cache
from .checking import IGNORED
from .configuration_lmu import POOLINGS, LMUConfig
from .layout import Layout
from .losses import Items, check_labels, sequence_loss
from .modeling_lmu import LMUModel, LMUPreTrainedModel
from .votes import NGramVotes, Votes

MODEL_INPUTS = ("input_ids", "inputs_embeds", "input_values")
Output = TypeVar("Output", bound=ModelOutput)


class LMUHead(nn.Module):
    """Dropout, an optional hidden layer, and a linear layer.

    Args:
        config: dropout, hidden layer and activation.
        width: numbers that are read.
        outputs: numbers of the linear layer.
        against_zero: the logits of two classes are 0 and its one output z. Their softmax is σ(−z) and σ(z).
    """

    def __init__(self, config: LMUConfig, width: int, outputs: int, against_zero: bool = False) -> None:
        super().__init__()
        self.against_zero = against_zero
        self.hidden_act = config.hidden_act
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.hidden = nn.Linear(width, config.head_hidden_size) if config.head_hidden_size else None
        self.out = nn.Linear(config.head_hidden_size or width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(…, width) to (…, outputs), or to (…, 2) where one number tells two classes apart."""
        x = self.dropout(x)
        if self.hidden is not None:
            x = self.dropout(ACTIVATIONS[self.hidden_act](self.hidden(x)))
        x = self.out(x)
        return pad(x, (1, 0)) if self.against_zero else x  # z to (0, z)


class TargetScale(nn.Module):
    """The unit of numbers to predict: a head learns them less their mean, over their deviation, and answers in theirs.

    Both are float32 whatever the model's dtype: in bfloat16 a mean of 243,750 would be off by 400. At first they change
    nothing.

    Args:
        outputs: how many numbers a head predicts.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(outputs))
        self.register_buffer("scale", torch.ones(outputs))

    @torch.no_grad()
    def draw_weights(self) -> None:
        """Change nothing."""
        nn.init.zeros_(self.mean)
        nn.init.ones_(self.scale)

    @torch.no_grad()
    def fit(self, targets: Tensor) -> None:
        """Take mean and deviation from targets (rows,) or (rows, outputs); constant ones keep their unit."""
        targets = targets.double().view(len(targets), -1)
        deviation = targets.std(0, correction=0)
        self.mean.copy_(targets.mean(0))
        self.scale.copy_(torch.where(deviation > 0, deviation, 1))

    def standardise(self, labels: Tensor) -> Tensor:
        """Labels in their own unit to those that are learnt; −100 stays what it is."""
        shape, labels = labels.shape, labels.to(self.mean.device).view(len(labels), -1)
        standard = (labels.double() - self.mean.double()) / self.scale.double()
        return (
            standard.to(torch.promote_types(labels.dtype, torch.float32))
            .masked_fill(labels == IGNORED, IGNORED)
            .view(shape)
        )

    def forward(self, x: Tensor) -> Tensor:
        """What was learnt (…, outputs), in the labels' own unit."""
        return x.to(torch.promote_types(x.dtype, torch.float32)) * self.scale + self.mean

    def _apply(self, fn: Any, recurse: bool = True) -> "TargetScale":
        before = {name: buffer for name, buffer in self.named_buffers()}
        super()._apply(fn, recurse)
        for name, buffer in self.named_buffers():
            if buffer.dtype != torch.float32:  # the device changes, the dtype does not
                setattr(self, name, before[name].to(buffer.device) if not buffer.is_meta else buffer.float())
        return self


class LMUPooledModel(LMUPreTrainedModel):
    """A stack and a head that reads one vector per sequence. What the classifiers share."""

    loaded_by = "AutoModelForSequenceClassification"
    loss_function = staticmethod(sequence_loss)  # in place of a property; it, too, may be set
    _keep_in_fp32_modules_strict = ["targets"]

    def __init__(self, config: LMUConfig, width: int | None = None) -> None:
        super().__init__(config)
        self.num_labels: int = config.num_labels or 1
        self.model = LMUModel(config)
        outputs = config.output_size or self.num_labels
        # Of several labels at once, each needs a number of its own: one number tells two exclusive classes apart.
        one_for_two = (outputs, self.num_labels) == (1, 2) and config.problem_type != "multi_label_classification"
        if outputs != self.num_labels and not one_for_two:
            raise ValueError(
                f"output_size={outputs} does not fit num_labels={self.num_labels}: a classifier has one output per "
                "label (output_size=None), or output_size=1 for a choice of one of two classes"
            )
        self.classifier = LMUHead(config, width or config.pooled_size, outputs, against_zero=one_for_two)
        numbers = config.problem_type == "regression" or (config.problem_type is None and self.num_labels == 1)
        self.targets = TargetScale(self.num_labels) if numbers else None

    def pool(
        self, attention_mask: Tensor | None = None, layout: Layout | None = None, **inputs
    ) -> tuple[Tensor, BaseModelOutputWithPast]:
        """One vector (b, pooled_size) per sequence, by ``config.pooling``, and the stack's own output.

        With ``"last"`` the last block computes nothing but each row's last real step, by eq. (25); with ``"mean"``,
        where it is linear in its memory, nothing but their mean, by :func:`~lmu_hf.memory.memory_mean`. Of packed
        sequences, b counts sequences, not rows.

        Args:
            attention_mask: where steps are real; or
            layout: how rows hold their sequences.
            inputs: those of the stack.

        Raises:
            ValueError: a row has no real step, or a mean or maximum is asked of a stream in pieces.
        """
        pooling = self.config.pooling
        # A mean or maximum would lack the pieces before; a last state has all of them in its memory.
        if pooling != "last" and inputs.get("cache") is not None:
            raise ValueError(f"pooling={pooling!r} needs the whole sequence; only 'last' can go on from a cache")
        if layout is None:
            layout = self.find_layout(given_input(**inputs), attention_mask, cache=inputs.get("cache"))
        wanted = "last" if pooling == "last" else "all"
        wants_states = inputs.get("output_hidden_states") or self.config.output_hidden_states
        # Whoever asks for hidden states wants those of the last block at every step, not their mean.
        if pooling == "mean" and not wants_states and not torch.compiler.is_exporting():  # its response has a length
            dense = layout is not None and layout.sequences is None
            wanted = "mean" if dense and self.model.can_skip_to_mean else "all"
        outputs = self.model(wanted=wanted, layout=layout, return_dict=True, **inputs)
        layout = cast(Layout, layout)  # without one, there was nothing to read, and the stack complained
        return layout.pool(outputs.last_hidden_state, POOLINGS[pooling], wanted != "all"), outputs

    def loss(self, labels: Tensor | None, *logits: Tensor, num_items_in_batch: Items = None) -> Tensor | None:
        """The loss that ``config.problem_type`` asks for (found from the labels where it is not set).

        Args:
            labels: what is to be found; −100 where there is nothing to learn, and None for no loss.
            logits: a model's, or those of each of its parts that learn alone, whose losses' mean it then is.
            num_items_in_batch: how many labels the loss is a mean over, if not over those given here.

        Raises:
            ValueError: the labels have a wrong shape, lie outside the classes or are not finite.
            TypeError: the labels are no tensor, or those of a choice of one class not int64.
        """
        if labels is None:
            return None
        check_labels(labels, len(logits[0]), self.num_labels, self.config)
        if self.targets is not None:
            labels = self.targets.standardise(labels)
        given: dict[str, Any] = {"labels": labels, "config": self.config, "num_items_in_batch": num_items_in_batch}
        # Passed on only where it is on: a loss function that a user has set need not know it.
        if self.training and self.config.label_smoothing:
            given["label_smoothing"] = self.config.label_smoothing
        # Under both names: transformers' own losses of sequences read pooled_logits, others read logits.
        return torch.stack([self.loss_function(pooled_logits=each, logits=each, **given) for each in logits]).mean()

    def in_units(self, logits: Tensor) -> Tensor:
        """Logits as a caller sees them: of numbers to predict, in the unit of the labels."""
        return logits if self.targets is None else self.targets(logits)


def given_input(**inputs) -> Tensor | None:
    """Whichever input of the stack was given."""
    return next((inputs[name] for name in MODEL_INPUTS if inputs.get(name) is not None), None)


@dataclass_transform()
def output_with_cache(output: type[Output]) -> type[Output]:
    """Make a dataclass of a model's output, whose field ``cache`` then has the installed transformers' name for it."""
    # Before dataclass() runs, since it takes the fields, and their order, from the annotations.
    fields = output.__annotations__
    if CACHE_NAME != "cache":
        output.__annotations__ = {CACHE_NAME if name == "cache" else name: fields[name] for name in fields}
        setattr(output, CACHE_NAME, None)  # the default moves with the name
        delattr(output, "cache")
    return dataclass(output)


class LMUForSequenceClassification(LMUPooledModel):
    """A class, several classes or a number for a whole sequence of tokens or of real values."""

    def __init__(self, config: LMUConfig) -> None:
        super().__init__(config)
        self.votes: NGramVotes | None = None
        if (option := Votes.of(config)) is not None:
            self.votes = NGramVotes(option, self.num_labels, config.vocab_size or 0)
        self.post_init()

    def voted(self, input_ids: Tensor, attention_mask: Tensor | None = None, *, layout: Layout | None = None) -> Tensor:
        """The logits (b, num_labels) of the votes alone.

        Args:
            input_ids, attention_mask: as of :meth:`forward`.
            layout: how rows hold their sequences, in place of the mask.

        Raises:
            ValueError: the model has none.
        """
        if self.votes is None:
            raise ValueError("this model has no votes: config.votes is None")
        if layout is None:
            layout = cast(Layout, self.find_layout(input_ids, attention_mask))
        # A mean over steps, so that logits do not grow with the length of a sequence.
        means = layout.pool(self.votes(input_ids, layout, layout.ranks), ("mean",))
        return self.votes.finish(means, input_ids, layout, layout.ranks)

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        input_values: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Cache | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        num_items_in_batch: Items = None,
        past_key_values: Cache | None = None,
        **kwargs,
    ) -> SequenceClassifierOutput:
        """Classify sequences; inputs as for :class:`LMUModel`.

        Of sequences packed in rows, each has its own logits, in their order: b below counts sequences.

        Args:
            labels: (b,) class ids, (b,) or (b, num_labels) numbers for regression, or (b, num_labels) 0/1 floats; −100
                where there is nothing to learn.
            cache: carried memories, to classify a stream as it comes in pieces (with pooling ``"last"``).
            num_items_in_batch: how many labels the loss is a mean over, if not over those given here.
            past_key_values: another name of ``cache``.
        """
        if past_key_values is not None or kwargs:
            cache = one_cache(cache, past_key_values, kwargs)
        inputs = {"input_ids": input_ids, "inputs_embeds": inputs_embeds, "input_values": input_values}
        layout = self.find_layout(given_input(**inputs), attention_mask, position_ids, cache, **kwargs)
        if self.votes is not None and (input_ids is None or cache is not None):
            raise ValueError("votes are of whole sequences of token ids: give input_ids, and no cache")
        pooled, outputs = self.pool(
            layout=layout,
            **inputs,
            cache=cache,
            # A classifier carries nothing unless asked to: config.use_cache is meant for generation.
            use_cache=bool(use_cache) or cache is not None,
            output_hidden_states=output_hidden_states,
        )
        logits = self.classifier(pooled)
        learners: tuple[Tensor, ...] | None = None
        if self.votes is not None and input_ids is not None:
            votes = self.voted(input_ids, layout=layout)
            learners = self.votes.learners(logits, votes) if self.training else None  # see LMUClassifierOutput
            logits = self.votes.join(logits, votes)
        return LMUClassifierOutput(
            logits=self.in_units(logits),
            loss=self.loss(labels, *(learners or [logits]), num_items_in_batch=num_items_in_batch),
            learners=learners,
            **{CACHE_NAME: getattr(outputs, CACHE_NAME)},
            hidden_states=outputs.hidden_states,
        )


@output_with_cache
class LMUClassifierOutput(SequenceClassifierOutput):
    """A classifier's output and the memories behind it.

    Args:
        cache: the carried memories, if ``use_cache`` asked for them (``past_key_values`` in transformers before 5.24).
        learners: in training beside votes, the logits (b, num_labels) of the stack alone and, where they are trained,
            of the votes alone, which are joined to ``logits``. The loss is their losses' mean: votes are counted in the
            very rows that they are trained on, and would leave a stack that learns to add to them little to learn.
    """

    cache: Cache | None = None
    learners: tuple[Tensor, ...] | None = None
