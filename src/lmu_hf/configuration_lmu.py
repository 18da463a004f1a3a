"""Every architectural choice of the family, named, typed and range-checked."""

# No `from __future__ import annotations` here: string annotations would switch off the type checks of `@strict`.
import copy
from dataclasses import fields
from difflib import get_close_matches
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers.configuration_utils import PreTrainedConfig

from .constants import exact
from .inherited_lmu import check_labels, check_num_labels, check_token_ids, check_words
from .layers import LAYER_WORDS, NORMS
from .statespace import BASES, DISCRETIZATIONS, LegendreSystem

POOLINGS = {"last": ("last",), "mean": ("mean",), "max": ("max",), "mean_max": ("mean", "max")}
CHOICES = {
    "discretization": DISCRETIZATIONS,
    "basis": BASES,
    **LAYER_WORDS,
    "cell": ("lmu", "lstm"),
    "block_type": ("lmu", "highway", "residual"),
    "norm": tuple(NORMS),
    "pooling": tuple(POOLINGS),
    "pixel_order": ("raster", "permuted"),
}
PAIR_FEATURES = ("first", "second", "difference", "product")
POSITIVE = (
    *("hidden_size", "num_hidden_layers", "num_attention_heads", "order", "num_channels"),
    *("ngram_buckets", "ngram_width", "vote_buckets"),
)
POSITIVE_OR_NONE = (
    "vocab_size",
    "input_size",
    "embedding_size",
    "memory_channels",
    "intermediate_size",
    "image_size",
    "num_decoder_layers",
    "output_size",
)
NOT_NEGATIVE = ("num_highway_layers", "alignment_size", "head_hidden_size", "permutation_seed")
PROBABILITIES = (
    *("embedding_dropout", "hidden_dropout", "attention_dropout", "classifier_dropout", "ngram_dropout"),
    "label_smoothing",
)
MAX_BYTES = 32 * 2**30
MAX_LAYERS = 10_000
NGRAMS = {"ngram_sizes": range(2, 65), "vote_sizes": range(1, 65)}


@strict
class LMUConfig(PreTrainedConfig):
    r"""
    The configuration of every model of the LMU family.

    Args:
        vocab_size (`int`, *optional*, defaults to 256): number of token ids. None for real-valued input.
        input_size (`int`, *optional*): numbers per time step of a real-valued input; replaces `vocab_size`.
        embedding_size (`int`, *optional*): width of the token embeddings; `hidden_size` if not given.
        ngram_sizes (`list[int]`, *optional*): lengths of the n-grams, each at least 2, whose vectors are added to the
            embedding of the token that they end at; see `NGramEmbedding`. The model then reads `input_ids` only.
        ngram_buckets (`int`, defaults to 32768): vectors for n-grams of each length; those of one hash share one.
        ngram_width (`int`, defaults to 64): numbers in each, before they are projected to an embedding.
        ngram_dropout (`float`, defaults to 0): how often, in training, a token goes without its n-gram of a length.
        hidden_size (`int`, defaults to 256): width of every block's output, d_o of eq. (20).
        num_hidden_layers (`int`, defaults to 4): number of blocks.
        cell (`str`, defaults to `"lmu"`): what remembers in every block. `"lstm"` is torch's LSTM in its place, to
            compare with; the fields that describe an LMU's memory and its projections then say nothing.
        order (`int`, defaults to 4): number of Legendre coefficients d.
        theta (`float` or a list with one per layer, defaults to 16): window θ in time steps, at least 1. Where a list
            has a list for a layer, that layer's channels fall into as many equal groups, each with its own window.
        memory_channels (`int`, *optional*): channels written to each memory, d_u; what the layer reads if not given.
        discretization (`str`, defaults to `"zoh"`): `"zoh"` or `"euler"`.
        basis (`str`, defaults to `"legendre"`): `"legendre"`, `"orthonormal"` or `"unit"`; see `LegendreSystem`.
        encoder (`str`, defaults to `"linear"`): `"linear"` for eq. (18), `"identity"` for u = x.
        readout (`str`, defaults to `"dense"`): `"dense"` for eq. (20), `"memory"` for the memory itself.
        encoder_activation (`str`, defaults to `"identity"`): f1 of eq. (18).
        hidden_act (`str`, defaults to `"gelu"`): f2 of eq. (20), and the activation inside the blocks.
        block_type (`str`, defaults to `"residual"`): `"lmu"`, equations (18) to (20) alone; `"highway"`, the paper's
            deep block; `"residual"`, pre-norm with a gated MLP.
        intermediate_size (`int`, *optional*): width inside the gated MLP; `2 * hidden_size` if not given.
        num_highway_layers (`int`, defaults to 3): highway layers behind each memory (and behind the mixture).
        deep_representations (`bool`, defaults to `False`): end in a learned mixture of all blocks' outputs.
        bidirectional (`bool`, defaults to `False`): read in both directions. Pooling `"last"` then reads too little.
        is_encoder_decoder (`bool`, defaults to `False`): for translation: the fields above then describe the encoder,
            and the decoder too but for its depth and its windows.
        num_decoder_layers (`int`, *optional*): number of decoder blocks; `num_hidden_layers` if not given.
        decoder_theta (as `theta`, with one per decoder layer, *optional*): `theta` if not given.
        num_attention_heads (`int`, defaults to 1): heads of a decoder's attention to the encoder's steps.
        attention_dropout (`float`, defaults to 0): dropout on its weights.
        label_smoothing (`float`, defaults to 0): of the translation head's loss in training.
        pooling (`str`, defaults to `"last"`): what a classifier reads: `"last"`, `"mean"` or `"max"` over real steps,
            or `"mean_max"`, both side by side.
        pair_features (`list[str]`): what a pair classifier reads, out of `"first"`, `"second"`, `"difference"`
            (|m1 − m2|) and `"product"` (m1 ⊙ m2).
        alignment_size (`int`, defaults to 0): width of what a pair classifier's steps become when each is compared with
            its counterpart in the other sequence, before they are pooled by mean or maximum; see `Alignment`. 0 to
            pool each sequence by itself.
        head_hidden_size (`int`, defaults to 0): width of a hidden layer inside the head; 0 for a linear head.
        vote_sizes (`list[int]`, *optional*): lengths of the n-grams, each at least 1, that vote in
            `LMUForSequenceClassification` for the class of their sequence, beside the stack; see `NGramVotes`.
        vote_buckets (`int`, defaults to 262144): votes for n-grams of each length; those of one hash share one.
        output_size (`int`, *optional*): numbers that a head gives out. Of the forecast head, per step; 1 if not given.
            Of a classifier, one per label if not given, or 1 to tell two classes apart by one number z: its logits are
            then (0, z).
        image_size (`int`, *optional*): side of a square image that is read pixel by pixel.
        num_channels (`int`, defaults to 1): colour channels of that image.
        pixel_order (`str`, defaults to `"raster"`): `"raster"`, or `"permuted"` by a stored permutation.
        permutation_seed (`int`, defaults to 0): draws that permutation when a model is made.
        embedding_dropout, hidden_dropout, classifier_dropout (`float`, default to 0): dropout on the input of the
            stack, on each block's output, and before the head.
        memory_form (`str`, defaults to `"auto"`): how the recurrence is run over many steps.
        norm (`str`, defaults to `"rms"`): `"rms"`, or `"layer"`, which also takes away the mean and which the CPU runs
            faster, one token at a time.
        rms_norm_eps (`float`, defaults to 1e-5): epsilon of either.
        initializer_range (`float`, defaults to 0.1): standard deviation of fresh embeddings.
        residual_initializer_scale (`float`, defaults to 1.0): how large the last projections of residual branches
            (memory, gated MLP, attention, n-grams) are at first, in units of what they would be. Well below 1, a fresh
            stack hands on its embeddings little changed, and attention learns sooner. An LSTM in the memory's place has
            none.
        use_cache (`bool`, defaults to `True`): return the carried memories.

    Raises:
        huggingface_hub.errors.StrictDataclassError: a field has a wrong type or value; the message names it.
    """

    model_type = "lmu"
    keys_to_ignore_at_inference = ["cache", "past_key_values"]

    vocab_size: int | None = 256
    input_size: int | None = None
    embedding_size: int | None = None
    ngram_sizes: list[int] | tuple[int, ...] | None = None
    ngram_buckets: int = 32_768
    ngram_width: int = 64
    ngram_dropout: float | int = 0.0
    hidden_size: int = 256
    num_hidden_layers: int = 4
    cell: str = "lmu"
    order: int = 4
    theta: float | int | list[float | int | list[float | int]] = 16
    memory_channels: int | None = None
    discretization: str = "zoh"
    basis: str = "legendre"
    encoder: str = "linear"
    readout: str = "dense"
    encoder_activation: str = "identity"
    hidden_act: str = "gelu"
    block_type: str = "residual"
    intermediate_size: int | None = None
    num_highway_layers: int = 3
    deep_representations: bool = False
    bidirectional: bool = False
    num_decoder_layers: int | None = None
    decoder_theta: float | int | list[float | int | list[float | int]] | None = None
    num_attention_heads: int = 1
    attention_dropout: float | int = 0.0
    label_smoothing: float | int = 0.0
    pooling: str = "last"
    pair_features: list[str] | tuple[str, ...] = PAIR_FEATURES
    alignment_size: int = 0
    head_hidden_size: int = 0
    vote_sizes: list[int] | tuple[int, ...] | None = None
    vote_buckets: int = 262_144
    output_size: int | None = None
    image_size: int | None = None
    num_channels: int = 1
    pixel_order: str = "raster"
    permutation_seed: int = 0
    embedding_dropout: float | int = 0.0
    hidden_dropout: float | int = 0.0
    classifier_dropout: float | int = 0.0
    memory_form: str = "auto"
    norm: str = "rms"
    rms_norm_eps: float = 1e-5
    initializer_range: float = 0.1
    residual_initializer_scale: float | int = 1.0
    use_cache: bool = True
    pad_token_id: int | None = 0
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    decoder_start_token_id: int | None = None
    is_encoder_decoder: bool = False
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs):
        own = [field.name for field in fields(LMUConfig)]
        for name in kwargs:
            if meant := get_close_matches(name, own, n=1, cutoff=0.85):
                raise ValueError(f"LMUConfig has no field {name!r}; did you mean {meant[0]!r}?")
        if self.input_size is not None:
            self.vocab_size = None
        if not __name__.startswith("transformers_modules."):
            # A saved pipeline's code is for those who have no lmu_hf; with it, pipeline() would ask to trust that code.
            kwargs.pop("custom_pipelines", None)
        # Before transformers makes a name for every label, and a list of num_hidden_layers words.
        check_labels(self.id2label, self.problem_type, kwargs.get("num_labels"))
        check_words(kwargs.get("torch_dtype", self.dtype), self.architectures, kwargs.get("transformers_weights"))
        self.validate_ranges()
        super().__post_init__(**kwargs)
        # Where several classes answer for one Auto class, transformers searches this list; None it cannot search.
        # The checkpoint of a translation head holds this body too, so that AutoModel finds it there.
        body = ["LMUEncoderDecoderModel"] if self.is_encoder_decoder else []
        self.architectures = list(dict.fromkeys([*(self.architectures or []), *body]))

    @property
    def num_labels(self) -> int | None:
        """How many labels there are: as many as `id2label` names."""
        return super().num_labels

    @num_labels.setter
    def num_labels(self, num_labels: int) -> None:
        check_num_labels(num_labels)
        inherited: Any = PreTrainedConfig.num_labels
        inherited.fset(self, num_labels)

    @property
    def layer_types(self) -> list[str]:
        """One `"lmu"` per layer: what transformers' caches are built from."""
        return ["lmu"] * self.num_hidden_layers

    @property
    def layer_thetas(self) -> list[float | list[float]]:
        """θ of each layer, or those of its groups of channels."""
        thetas = self.theta if isinstance(self.theta, list) else [self.theta] * self.num_hidden_layers
        return [[float(t) for t in theta] if isinstance(theta, list) else float(theta) for theta in thetas]

    @property
    def layer_systems(self) -> list[list[LegendreSystem]]:
        """The Legendre systems of each layer's groups of channels."""
        return [
            [
                LegendreSystem(self.order, window, self.discretization, self.basis)
                for window in (theta if isinstance(theta, list) else [theta])
            ]
            for theta in self.layer_thetas
        ]

    @property
    def has_residual_stream(self) -> bool:
        """Whether blocks add to what they read, with a norm before each branch and one behind the stack."""
        return self.block_type == "residual"

    @property
    def stack_input_size(self) -> int:
        """Width of what enters the first block."""
        if self.has_residual_stream or self.deep_representations:  # sums need equal widths
            return self.hidden_size
        return self.input_size or self.embedding_size or self.hidden_size

    @property
    def state_size(self) -> int:
        """How many numbers one row of a batch carries from step to step, over all layers."""
        tokens = max(self.ngram_sizes) - 1 if self.ngram_sizes else 0
        if self.cell == "lstm":
            return 2 * self.hidden_size * self.num_hidden_layers + tokens
        return sum(self.layer_channels(i) * self.order for i in range(self.num_hidden_layers)) + tokens

    @property
    def pooled_size(self) -> int:
        """Width of what a classifier reads of one sequence."""
        return self.hidden_size * len(POOLINGS[self.pooling])

    @property
    def pair_size(self) -> int:
        """Width of what a pair classifier reads of one sequence."""
        return (self.alignment_size or self.hidden_size) * len(POOLINGS[self.pooling])

    def layer_channels(self, layer: int) -> int:
        """d_u of a layer."""
        return self.memory_channels or (self.stack_input_size if layer == 0 else self.hidden_size)

    def encoder_config(self) -> "LMUConfig":
        """The encoder of an encoder–decoder, as a config of its own."""
        part = copy.deepcopy(self)
        part.is_encoder_decoder = part.use_cache = False
        part.architectures = []
        part.pooling = "mean"  # the one that fits both directions; no head reads it here
        return part

    def decoder_config(self) -> "LMUConfig":
        """The decoder of an encoder–decoder, as a config of its own: its caches are built from this."""
        part = copy.deepcopy(self)
        part.is_encoder_decoder = part.bidirectional = False
        part.architectures = []
        part.num_hidden_layers = self.num_decoder_layers or self.num_hidden_layers
        part.theta = self.theta if self.decoder_theta is None else self.decoder_theta
        return part

    def get_text_config(self, decoder: bool | None = None, encoder: bool | None = None) -> "LMUConfig":
        """This config, or the one half of an encoder–decoder that is asked for."""
        if not self.is_encoder_decoder or decoder == encoder:
            return self
        return self.decoder_config() if decoder else self.encoder_config()

    def check_tied_width(self) -> None:
        """For heads whose last matrix may be the embeddings'.

        Raises:
            ValueError: ``tie_word_embeddings`` joins matrices of two widths.
        """
        if self.tie_word_embeddings and self.embedding_size not in (None, self.hidden_size):
            raise ValueError(
                f"tie_word_embeddings needs embedding_size equal to hidden_size={self.hidden_size}, got "
                f"{self.embedding_size}"
            )

    def validate_layer_type(self) -> None:
        """Transformers' own list of layer types does not hold `"lmu"`; `layer_types` is derived and always right."""

    def validate_inherited(self) -> None:
        """What transformers' own fields say can be."""
        check_labels(self.id2label, self.problem_type)
        check_words(self.dtype, self.architectures, getattr(self, "transformers_weights", None))

    def validate_token_ids(self) -> None:
        """Special tokens are tokens."""
        check_token_ids({name: ids for name, ids in vars(self).items() if name.endswith("_token_id")}, self.vocab_size)

    def validate_choices(self) -> None:
        """Words come from their lists."""
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {allowed}, got {getattr(self, name)!r}")
        chosen = self.pair_features
        if not chosen or set(chosen) - set(PAIR_FEATURES) or len(set(chosen)) < len(chosen):
            raise ValueError(
                f"pair_features must be a non-empty list out of {PAIR_FEATURES}, none twice, got {chosen!r}"
            )

    def validate_ranges(self) -> None:
        """Numbers lie in their ranges."""
        for name in POSITIVE + tuple(name for name in POSITIVE_OR_NONE if getattr(self, name) is not None):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in NOT_NEGATIVE:
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        for name in PROBABILITIES:
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be a probability in [0, 1), got {getattr(self, name)}")
        for name in ("rms_norm_eps", "initializer_range", "residual_initializer_scale"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("num_hidden_layers", "num_decoder_layers"):
            if (getattr(self, name) or 0) > MAX_LAYERS:
                raise ValueError(f"{name} must be at most {MAX_LAYERS}, got {getattr(self, name)}")
        for name, allowed in NGRAMS.items():
            sizes = getattr(self, name)
            if sizes is not None and not (sizes and set(sizes) <= set(allowed) and len(set(sizes)) == len(sizes)):
                raise ValueError(
                    f"{name} must be a list of lengths from {allowed[0]} to {allowed[-1]}, none twice, or None, got "
                    f"{sizes}"
                )
        for name in ("ngram_buckets", "vote_buckets"):
            if getattr(self, name) >= 2**31:
                raise ValueError(f"{name} must be below 2**31, got {getattr(self, name)}")
        if self.permutation_seed >= 2**63:
            raise ValueError(f"permutation_seed must be below 2**63, got {self.permutation_seed}")

    def validate_widths(self) -> None:
        """Fields that speak of one width agree on it."""
        if self.vocab_size is None and self.input_size is None:
            raise ValueError("one of vocab_size (token input) and input_size (real-valued input) must be given")
        for name in NGRAMS:
            if (sizes := getattr(self, name)) and self.vocab_size is None:
                raise ValueError(f"{name}={sizes} are of token ids; input_size={self.input_size} has none")
        if isinstance(self.theta, list) and len(self.theta) != self.num_hidden_layers:
            raise ValueError(f"theta lists {len(self.theta)} windows for num_hidden_layers={self.num_hidden_layers}")
        if self.encoder == "identity" and self.memory_channels is not None:
            raise ValueError(
                f"encoder='identity' writes what it reads: leave memory_channels out, got {self.memory_channels}"
            )
        directions = 2 if self.bidirectional else 1
        per_channel = {"dense": 0, "memory": self.order * directions}[self.readout]
        if self.cell == "lstm":
            per_channel = 0
            if self.bidirectional and self.hidden_size % 2:
                raise ValueError(f"a bidirectional LSTM needs an even hidden_size, got {self.hidden_size}")
        for layer in range(min(self.num_hidden_layers, 2) if per_channel else 0):  # the rest are as the second
            if (width := self.layer_channels(layer) * per_channel) != self.hidden_size:
                raise ValueError(
                    f"readout={self.readout!r} hands on {width} numbers ({per_channel} per channel) in layer {layer}, "
                    f"so hidden_size must be {width}, got {self.hidden_size}"
                )
        if self.is_encoder_decoder:
            self._validate_decoder()
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"num_attention_heads must divide hidden_size={self.hidden_size}, got {self.num_attention_heads}"
            )
        if self.alignment_size and self.pooling == "last":
            raise ValueError(
                f"alignment_size={self.alignment_size} compares all steps: choose pooling 'mean', 'max' or 'mean_max'"
            )
        if self.bidirectional and self.pooling == "last" and not self.is_encoder_decoder:
            raise ValueError(
                "pooling='last' reads a causal state; with bidirectional=True choose 'mean', 'max' or 'mean_max'"
            )

    def _validate_decoder(self) -> None:
        if self.vocab_size is None:
            raise ValueError(f"is_encoder_decoder=True needs a vocab_size; input_size={self.input_size} has none")
        windows = self.theta if self.decoder_theta is None else self.decoder_theta
        layers = self.num_decoder_layers or self.num_hidden_layers
        if isinstance(windows, list) and len(windows) != layers:
            name = "theta" if self.decoder_theta is None else "decoder_theta"
            raise ValueError(f"{name} lists {len(windows)} windows for {layers} decoder layers")
        if self.readout == "memory" and self.bidirectional:
            raise ValueError("readout='memory' hands on one width in the encoder and another in the decoder")

    def validate_size(self) -> None:
        """What the config asks for fits a machine."""
        asked = self.asked_bytes()
        total, largest = sum(asked.values()), max(asked, key=lambda part: asked[part])
        if total > MAX_BYTES:
            raise ValueError(f"{largest} asks for {total / 2**30:.0f} GiB; the limit is {MAX_BYTES >> 30} GiB")

    def validate_windows(self) -> None:
        """Each layer's channels fall into as many groups as it has windows, and every window is well defined."""
        systems = self._checked_systems("theta")
        if self.is_encoder_decoder:
            name = "theta" if self.decoder_theta is None else "decoder_theta"
            systems |= self.decoder_config()._checked_systems(name)
        for system in systems if self.discretization == "euler" else ():
            exact("A_bar", system)  # raises where the system is unstable; a zero-order hold never is

    def _checked_systems(self, name: str) -> set[LegendreSystem]:
        """All layers' systems, where the field that is called so lists windows for them."""
        systems: set[LegendreSystem] = set()
        for layer, windows in enumerate(self.layer_systems):
            channels = self.layer_channels(layer)
            if not windows or channels % len(windows):
                raise ValueError(
                    f"{name} lists {len(windows)} windows for layer {layer}; they must be one or more, and divide its "
                    f"{channels} channels (memory_channels)"
                )
            systems |= set(windows)
        return systems

    def asked_bytes(self) -> dict[str, int]:
        """Bytes of a model's float32 weights and of its system, by the fields that decide them."""
        layers, width, embedding = self.num_hidden_layers, self.hidden_size, self.embedding_size or self.hidden_size
        d_x, d_u = max(self.stack_input_size, width), max(self.layer_channels(0), self.layer_channels(1))
        directions = 2 if self.bidirectional else 1
        highway_stacks = layers * (self.block_type == "highway") + self.deep_representations
        inner = (self.intermediate_size or 2 * width) * (self.block_type == "residual")
        dense = self.readout == "dense"
        outputs = max(self.output_size or 1, self.num_labels or 0)
        head = 0 if self.tie_word_embeddings else (self.vocab_size or 0) * width
        numbers = {
            "order": 2 * self.order**2,
            "vocab_size x embedding_size": (self.vocab_size or 0) * embedding,
            "ngram_buckets x ngram_width": len(self.ngram_sizes or ())
            * self.ngram_width
            * (self.ngram_buckets + width),
            "input_size": (self.input_size or 0) * (self.stack_input_size if self.block_type != "lmu" else d_u),
            "memory_channels x order x hidden_size": layers * d_u * self.order * directions * width * dense,
            "hidden_size x memory_channels": layers * d_x * (d_u + width),
            "4 x hidden_size": layers * 4 * width * (d_x + width) * (self.cell == "lstm"),
            "hidden_size x intermediate_size": layers * 3 * width * inner,
            "num_highway_layers x hidden_size": highway_stacks * self.num_highway_layers * 2 * width**2,
            "num_decoder_layers x hidden_size": 0,
            "vocab_size x hidden_size": head,
            "vote_buckets x num_labels": len(self.vote_sizes or ()) * self.vote_buckets * (outputs + 1),
            "alignment_size": 4 * width * self.alignment_size,
            "head_hidden_size": self.head_hidden_size
            * (max(self.pooled_size, self.pair_size) * len(self.pair_features) + outputs),
            "output_size": outputs * self.pooled_size,
            "image_size": 2 * (self.image_size or 0) ** 2,
        }
        asked = {part: 4 * number for part, number in numbers.items()}
        if self.is_encoder_decoder:
            config = self.decoder_config()
            decoder = config.asked_bytes()
            decoder["num_decoder_layers x hidden_size"] = 4 * 4 * config.num_hidden_layers * width**2
            decoder["vocab_size x hidden_size"] = 0  # one head for both
            asked = {part: number + decoder[part] for part, number in asked.items()}
        return asked
