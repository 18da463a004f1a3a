"""Every architectural choice of the family, named, typed and range-checked."""

# No `from __future__ import annotations` here: string annotations would switch off the type checks of `@strict`.
import copy
from dataclasses import asdict, fields
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers.configuration_utils import PreTrainedConfig

from .fields_lmu import (
    OPTIONS,
    Option,
    check_labels,
    check_names,
    check_num_labels,
    check_ranges,
    check_some,
    check_token_ids,
    check_words,
    count_around_memories,
    count_of_memories,
)

# The words stand here once more than in the modules that they steer: a config travels without those. A test holds
# both lists to each other.
ACTIVATIONS = ("identity", "relu", "gelu", "silu", "tanh")
POOLINGS = {"last": ("last",), "mean": ("mean",), "max": ("max",), "mean_max": ("mean", "max"), "share": ("share",)}
CHOICES = {
    "discretization": ("zoh", "euler"),
    "basis": ("legendre", "orthonormal", "unit"),
    "encoder": ("linear", "identity"),
    "readout": ("dense", "memory"),
    "hidden_act": ACTIVATIONS,
    "memory_form": ("auto", "recurrent", "chunked", "scanned", "fft", "toeplitz"),
    "block_type": ("lmu", "highway", "residual"),
    "norm": ("rms", "layer"),
    "pooling": tuple(POOLINGS),
}
PAIR_FEATURES = ("first", "second", "difference", "product")  # m1, m2, |m1 − m2|, m1 ⊙ m2
MAX_BYTES = 32 * 2**30  # of float32 weights: a slip in a size fails here, before anything is allocated
MAX_THETA = 10**7  # as `LegendreSystem` has it


@strict
class LMUConfig(PreTrainedConfig):
    r"""
    The configuration of every model of the LMU family.

    Args:
        vocab_size (`int`, *optional*, defaults to 256): number of token ids. None for real-valued input.
        input_size (`int`, *optional*): numbers per time step of a real-valued input; replaces `vocab_size`.
        embedding_size (`int`, *optional*): width of the token embeddings; `hidden_size` if not given.
        ngrams (`dict`, *optional*): vectors of n-grams, added to the embedding of the token that they end at. Its
            entries are those of `NGrams`: `{"sizes": [2, 3, 4]}`. The model then reads `input_ids` only.
        hidden_size (`int`, defaults to 256): width of every block's output, d_o of eq. (20).
        num_hidden_layers (`int`, defaults to 4): number of blocks.
        order (`int`, defaults to 4): number of Legendre coefficients d.
        theta (`float` or a list with one per layer, defaults to 16): window θ in time steps, at least 1. Where a list
            has a list for a layer, that layer's channels fall into as many equal groups, each with its own window.
        memory_channels (`int`, *optional*): channels written to each memory, d_u; what the layer reads if not given.
        discretization (`str`, defaults to `"zoh"`): `"zoh"` or `"euler"`.
        basis (`str`, defaults to `"unit"`): `"legendre"`, `"orthonormal"` or `"unit"`; see `LegendreSystem`.
        encoder (`str`, defaults to `"linear"`): `"linear"` for eq. (18), `"identity"` for u = x.
        readout (`str`, defaults to `"dense"`): `"dense"` for eq. (20), `"memory"` for the memory itself.
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
        label_smoothing (`float`, defaults to 0): of the loss of classifiers and translators in training.
        pooling (`str`, defaults to `"last"`): what a classifier reads: `"last"`, `"mean"` or `"max"` over real steps,
            `"mean_max"`, both side by side, or `"share"`, the share of steps at which each output is above 0.
        pair_features (`list[str]`): what a pair classifier reads, out of `"first"`, `"second"`, `"difference"`
            (|m1 − m2|) and `"product"` (m1 ⊙ m2).
        alignment (`dict`, *optional*): a pair classifier compares each step with its counterpart in the other sequence
            before it pools them by mean or maximum. Its entries are those of `AlignmentOption`: `{"size": 64}`.
        head_hidden_size (`int`, defaults to 0): width of a hidden layer inside the head; 0 for a linear head.
        votes (`dict`, *optional*): n-grams vote in `LMUForSequenceClassification` for the class of their sequence,
            beside the stack. Its entries are those of `Votes`: `{"sizes": [1, 2]}`.
        output_size (`int`, *optional*): numbers that a head gives out. Of a forecast at every step, 1 if not given. Of
            a classifier, one per label if not given; 1 tells two classes apart by one number z, with logits (0, z).
        forecast (`dict`, *optional*): `LMUForTimeSeriesPrediction` predicts many steps at once behind its context. Its
            entries are those of `Forecast`: `{"context_length": 336, "prediction_length": 96}`.
        image_size (`int`, *optional*): side of a square image that is read pixel by pixel; `input_size` is then the
            number of its colour channels.
        permutation_seed (`int`, *optional*): pixels are read in a random order, drawn from this seed when a model is
            made and stored with its weights. None for raster order.
        embedding_dropout, hidden_dropout, classifier_dropout (`float`, default to 0): dropout on the input of the
            stack, on each block's output, and before the head.
        memory_form (`str`, defaults to `"auto"`): how the recurrence is run over many steps.
        norm (`str`, defaults to `"rms"`): `"rms"`, or `"layer"`, which the CPU runs faster, one token at a time.
        initializer_range (`float`, defaults to 0.1): standard deviation of fresh embeddings.
        residual_initializer_scale (`float`, defaults to 1.0): initial scale of the last projections of branches.
        use_cache (`bool`, defaults to `True`): return the carried memories.

    Raises:
        huggingface_hub.errors.StrictDataclassError: a field has a wrong type or value; the message names it.
    """

    model_type = "lmu"
    body_of_two_stacks = "LMUEncoderDecoderModel"  # what AutoModel builds of an encoder–decoder
    keys_to_ignore_at_inference = ["cache", "past_key_values"]  # Trainer would gather them as predictions

    vocab_size: int | None = 256
    input_size: int | None = None
    embedding_size: int | None = None
    ngrams: dict[str, Any] | None = None
    hidden_size: int = 256
    num_hidden_layers: int = 4
    order: int = 4
    theta: float | int | list[float | int | list[float | int]] = 16
    memory_channels: int | None = None
    discretization: str = "zoh"
    basis: str = "unit"  # white noise then fills every coefficient with variance 1
    encoder: str = "linear"
    readout: str = "dense"
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
    alignment: dict[str, Any] | None = None
    head_hidden_size: int = 0
    votes: dict[str, Any] | None = None
    output_size: int | None = None
    forecast: dict[str, Any] | None = None
    image_size: int | None = None
    permutation_seed: int | None = None
    embedding_dropout: float | int = 0.0
    hidden_dropout: float | int = 0.0
    classifier_dropout: float | int = 0.0
    memory_form: str = "auto"
    norm: str = "rms"
    initializer_range: float = 0.1
    residual_initializer_scale: float | int = 1.0
    use_cache: bool = True
    pad_token_id: int | None = 0
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    decoder_start_token_id: int | None = None
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs):
        check_names(kwargs, [field.name for field in fields(LMUConfig)])
        if self.input_size is not None:
            self.vocab_size = None
        if not __name__.startswith("transformers_modules."):
            # A saved pipeline's code is for those who have no lmu_hf; with it, pipeline() would ask to trust that code.
            kwargs.pop("custom_pipelines", None)
        kwargs["auto_map"] = kwargs.get("auto_map") or {}  # other libraries read it of every config
        if not isinstance(self.is_encoder_decoder, bool):  # transformers' own field, which it does not check
            raise ValueError(f"Field 'is_encoder_decoder' expected bool, got {self.is_encoder_decoder!r}")
        # Before transformers makes a name for every label.
        check_labels(self.id2label, self.problem_type, kwargs.get("num_labels"))
        check_words(kwargs.get("torch_dtype", self.dtype), self.architectures, kwargs.get("transformers_weights"))
        self.validate_ranges()
        for option in self.options:  # with their defaults, which may be others one day
            setattr(self, option.name, asdict(option))
        super().__post_init__(**kwargs)
        # Where several classes answer for one Auto class, transformers searches this list; None it cannot search.
        # The checkpoint of a translation head holds this body too, so that AutoModel finds it there.
        body = [self.body_of_two_stacks] if self.is_encoder_decoder else []
        self.architectures = list(dict.fromkeys([*(self.architectures or []), *body]))

    def to_dict(self) -> dict[str, Any]:
        """Every field, and `auto_map` where it names something."""
        return {name: value for name, value in super().to_dict().items() if name != "auto_map" or value}

    @property
    def num_labels(self) -> int | None:
        """How many labels there are: as many as `id2label` names."""
        return super().num_labels

    @num_labels.setter
    def num_labels(self, num_labels: int) -> None:
        check_num_labels(num_labels)
        inherited: Any = PreTrainedConfig.num_labels
        inherited.fset(self, num_labels)  # a property's setter is out of reach for super()

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
    def options(self) -> list[Option]:
        """The options that are switched on, as their own modules read them; of modules that are not loaded, none."""
        records = {name: getattr(self, name) for name in OPTIONS}
        return [OPTIONS[name].read(record) for name, record in records.items() if record is not None]

    @property
    def memory_shapes(self) -> list[tuple[int, int]]:
        """What one row of a batch carries in each layer: (channels, order)."""
        return [(self.layer_channels(layer), self.order) for layer in range(self.num_hidden_layers)]

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
        return sum(a * b for a, b in self.memory_shapes) + sum(option.carried for option in self.options)

    @property
    def memory_meanings(self) -> list:
        """What decides the meaning of every carried number, layer by layer, as JSON has it."""
        thetas = self.layer_thetas
        return [
            [self.layer_channels(i), self.order, thetas[i], self.discretization, self.basis] for i in range(len(thetas))
        ]

    @property
    def pooled_size(self) -> int:
        """Width of what a classifier reads of one sequence."""
        return self.hidden_size * len(POOLINGS[self.pooling])

    def layer_channels(self, layer: int) -> int:
        """d_u of a layer."""
        return self.memory_channels or (self.stack_input_size if layer == 0 else self.hidden_size)

    def encoder_config(self) -> "LMUConfig":
        """The encoder of an encoder–decoder, as a config of its own."""
        part = copy.deepcopy(self)
        part.is_encoder_decoder = part.use_cache = False  # an encoder reads its source in one call
        part.architectures = []
        part.pooling = "mean"  # the one that fits both directions; no head reads it here
        return part

    def decoder_config(self) -> "LMUConfig":
        """The decoder of an encoder–decoder, as a config of its own: its caches are built from this."""
        part = copy.deepcopy(self)
        part.is_encoder_decoder = part.bidirectional = False  # a target is not known before it is made
        part.architectures = []
        part.num_hidden_layers = self.num_decoder_layers or self.num_hidden_layers
        part.theta = self.theta if self.decoder_theta is None else self.decoder_theta
        return part

    def get_text_config(self, decoder: bool | None = None, encoder: bool | None = None) -> "LMUConfig":
        """This config, or the one half of an encoder–decoder that is asked for."""
        if not self.is_encoder_decoder or decoder == encoder:  # both or neither: the whole
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
        check_some("pair_features", self.pair_features, PAIR_FEATURES)

    def validate_ranges(self) -> None:
        """Numbers lie in their ranges."""
        check_ranges(self)

    def validate_options(self) -> None:
        """Every option that is switched on fits itself and the rest."""
        for option in self.options:
            option.check(self)

    def validate_widths(self) -> None:
        """Fields that speak of one width agree on it."""
        if self.vocab_size is None and self.input_size is None:
            raise ValueError("one of vocab_size (token input) and input_size (real-valued input) must be given")
        if isinstance(self.theta, list) and len(self.theta) != self.num_hidden_layers:
            raise ValueError(f"theta lists {len(self.theta)} windows for num_hidden_layers={self.num_hidden_layers}")
        if self.encoder == "identity" and self.memory_channels is not None:
            raise ValueError(
                f"encoder='identity' writes what it reads: leave memory_channels out, got {self.memory_channels}"
            )
        self._validate_readout()
        if self.is_encoder_decoder:
            self._validate_decoder()
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"num_attention_heads must divide hidden_size={self.hidden_size}, got {self.num_attention_heads}"
            )
        if self.bidirectional and self.pooling == "last" and not self.is_encoder_decoder:
            raise ValueError(
                "pooling='last' reads a causal state; with bidirectional=True choose 'mean', 'max' or 'mean_max'"
            )

    def _validate_readout(self) -> None:
        """A memory that is its own readout hands on as many numbers as a block puts out."""
        per_channel = self.order * (2 if self.bidirectional else 1)
        for layer in range(min(self.num_hidden_layers, 2) if self.readout == "memory" else 0):  # the rest as the second
            if (width := self.layer_channels(layer) * per_channel) != self.hidden_size:
                raise ValueError(
                    f"readout='memory' hands on {width} numbers ({per_channel} per channel) in layer {layer}, "
                    f"so hidden_size must be {width}, got {self.hidden_size}"
                )

    def _validate_decoder(self) -> None:
        if self.vocab_size is None:
            raise ValueError(f"is_encoder_decoder=True needs a vocab_size; input_size={self.input_size} has none")
        name, layers = "theta" if self.decoder_theta is None else "decoder_theta", self.num_decoder_layers
        windows, layers = getattr(self, name), layers or self.num_hidden_layers
        if isinstance(windows, list) and len(windows) != layers:
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
        """Each layer's channels fall into as many groups as it has windows, and every window is one."""
        self._check_windows("theta")
        if self.is_encoder_decoder:
            self.decoder_config()._check_windows("theta" if self.decoder_theta is None else "decoder_theta")

    def _check_windows(self, name: str) -> None:
        """Of all layers, where the field that is called so lists windows for them."""
        for layer, theta in enumerate(self.layer_thetas):
            windows, channels = theta if isinstance(theta, list) else [theta], self.layer_channels(layer)
            if not windows or channels % len(windows):
                raise ValueError(
                    f"{name} lists {len(windows)} windows for layer {layer}; they must be one or more, and divide its "
                    f"{channels} channels (memory_channels)"
                )
            for window in windows:
                if not 1 <= window <= MAX_THETA:
                    raise ValueError(f"theta must be a number of time steps from 1 to {MAX_THETA:g}, got {window!r}")

    _count_of_memories = count_of_memories  # a method, which the baseline overrides

    def asked_bytes(self) -> dict[str, int]:
        """Bytes of a model's float32 weights and of its system, by the fields that decide them."""
        numbers = count_around_memories(self) | self._count_of_memories()
        for option in self.options:
            numbers |= option.count_numbers(self)
        asked = {part: 4 * number for part, number in numbers.items()}  # float32
        if self.is_encoder_decoder:
            config = self.decoder_config()
            decoder = config.asked_bytes()
            # Cross-attention: query, key, value and output, 4 bytes a number.
            decoder["num_decoder_layers x hidden_size"] = 4 * 4 * config.num_hidden_layers * self.hidden_size**2
            decoder["vocab_size x hidden_size"] = 0  # one head for both
            asked = {part: number + decoder[part] for part, number in asked.items()}
        return asked
