"""Every architectural choice is named, typed, range-checked, and survives being written down."""

import copy
import dataclasses
import json
import math

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModel
from transformers.configuration_utils import PreTrainedConfig

from lmu_hf import LegendreSystem, LMUConfig, LMUModel, statespace
from lmu_hf.blocks_lmu import BLOCKS, NORMS, layer_systems
from lmu_hf.configuration_lmu import CHOICES, MAX_THETA, PAIR_FEATURES
from lmu_hf.fields_lmu import OPTIONS
from lmu_hf.layers import LAYER_WORDS
from lmu_hf.statespace import BASES, DISCRETIZATIONS

OWN_FIELDS = sorted({*LMUConfig.__annotations__, "is_encoder_decoder"})
AT_LEAST_ONE = [
    *("vocab_size", "input_size", "embedding_size", "hidden_size", "num_hidden_layers", "order", "memory_channels"),
    *("intermediate_size", "output_size", "image_size", "num_decoder_layers", "num_attention_heads"),
]
AT_LEAST_ZERO = ["num_highway_layers", "head_hidden_size"]
PROBABILITIES = [
    *("embedding_dropout", "hidden_dropout", "attention_dropout", "classifier_dropout"),
    "label_smoothing",
]
ABOVE_ZERO = ["initializer_range", "residual_initializer_scale"]
WORDS = sorted(CHOICES)
SWITCHES = ["deep_representations", "bidirectional", "use_cache", "tie_word_embeddings", "is_encoder_decoder"]


def as_json(config: LMUConfig) -> dict:
    """Everything but the place that it was read from."""
    return {**json.loads(config.to_json_string(use_diff=False)), "_name_or_path": None}


def refusal(**fields) -> str:
    """The one message with which a config is refused."""
    with pytest.raises((StrictDataclassError, ValueError)) as caught:
        LMUConfig(**fields)
    return str(caught.value)


@st.composite
def legal_fields(draw) -> dict:
    """Small, legal architectures of every kind."""
    layers = draw(st.integers(1, 3))
    bidirectional = draw(st.booleans())
    theta = st.one_of(st.integers(1, 50), st.floats(1, 50))
    fields = {
        draw(st.sampled_from(["vocab_size", "input_size"])): draw(st.integers(1, 9)),
        "hidden_size": draw(st.integers(1, 8)),
        "num_hidden_layers": layers,
        "order": draw(st.integers(1, 6)),
        "theta": draw(st.one_of(theta, st.lists(theta, min_size=layers, max_size=layers))),
        "bidirectional": bidirectional,
        "pooling": draw(st.sampled_from(CHOICES["pooling"][1:] if bidirectional else CHOICES["pooling"])),
        "pair_features": draw(st.lists(st.sampled_from(PAIR_FEATURES), min_size=1, max_size=4, unique=True)),
        "num_highway_layers": draw(st.integers(0, 2)),
        "hidden_dropout": draw(st.floats(0, 0.9)),
        "num_labels": draw(st.integers(1, 5)),
    }
    words = ("basis", "encoder", "hidden_act", "block_type", "norm", "memory_form")
    for word in words:
        fields[word] = draw(st.sampled_from(CHOICES[word]))
    for optional in ("embedding_size", "intermediate_size", "head_hidden_size"):
        if draw(st.booleans()):
            fields[optional] = draw(st.integers(1, 8))
    if fields["encoder"] == "linear" and draw(st.booleans()):
        fields["memory_channels"] = draw(st.integers(1, 8))
    if "vocab_size" in fields and draw(st.booleans()):
        sizes = st.lists(st.integers(2, 9), min_size=1, max_size=3, unique=True)
        fields["ngrams"] = {
            "sizes": draw(sizes),
            "buckets": draw(st.integers(1, 40)),
            "width": draw(st.integers(1, 40)),
        }
        fields["votes"] = {"sizes": draw(sizes)}
    return fields


# --------------------------------------------------------------------------- what is accepted


def test_the_defaults_are_a_model_that_reads_tokens():
    config = LMUConfig()
    ids = torch.arange(12).view(2, 6)
    assert LMUModel(config)(ids).last_hidden_state.shape == (2, 6, config.hidden_size)


def test_every_field_of_the_family_is_documented():
    standard = {"tie_word_embeddings", "pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"}
    assert {name for name in OWN_FIELDS if name not in LMUConfig.__doc__} <= standard


@given(legal_fields())
def test_every_legal_config_builds_a_model(fields):
    config = LMUConfig(**fields)
    with torch.device("meta"):
        model = LMUModel(config)
    assert len(model.layers) == config.num_hidden_layers


@pytest.mark.parametrize("field", AT_LEAST_ONE)
def test_every_size_may_be_one(field):
    assert getattr(LMUConfig(**{field: 1}), field) == 1


@pytest.mark.parametrize(("field", "word"), [(field, word) for field in WORDS for word in CHOICES[field]])
def test_every_choice_is_accepted(field, word):
    theta, pooling = (1000, "mean") if field == "discretization" else (16, "last")
    narrow = {"hidden_size": 8, "num_hidden_layers": 1, "order": 2, "memory_channels": 4} if word == "memory" else {}
    assert getattr(LMUConfig(**{"theta": theta, "pooling": pooling, **narrow, field: word}), field) == word


def test_a_real_valued_input_replaces_the_vocabulary():
    assert LMUConfig(input_size=3).vocab_size is None


def test_theta_is_one_window_or_one_per_layer():
    assert LMUConfig(num_hidden_layers=3, theta=7).layer_thetas == [7.0, 7.0, 7.0]
    assert LMUConfig(num_hidden_layers=3, theta=[4, 8.5, 16]).layer_thetas == [4.0, 8.5, 16.0]


def test_a_layer_may_have_several_windows():
    config = LMUConfig(num_hidden_layers=2, theta=[[4, 8.5], 16], memory_channels=6, order=3, basis="unit")
    assert config.layer_thetas == [[4.0, 8.5], 16.0]
    assert layer_systems(config, 0) == [LegendreSystem(3, theta, "zoh", "unit") for theta in (4.0, 8.5)]
    assert layer_systems(config, 1) == [LegendreSystem(3, 16.0, "zoh", "unit")]
    assert LMUConfig(**json.loads(config.to_json_string())).layer_thetas == config.layer_thetas


@pytest.mark.parametrize("windows", [[], [4.0, 8.0, 16.0]], ids=str)
def test_windows_that_a_layers_channels_cannot_share_are_refused(windows):
    message = refusal(num_hidden_layers=2, theta=[16.0, windows], memory_channels=4)
    assert f"theta lists {len(windows)} windows for layer 1" in message and "4 channels (memory_channels)" in message


def test_each_of_a_layers_windows_is_checked():
    message = refusal(num_hidden_layers=1, theta=[[4.0, 0.5]], memory_channels=4)
    assert "theta must be a number of time steps" in message and "got 0.5" in message


@pytest.mark.parametrize("layers", [1, 3])
def test_every_layer_is_of_the_type_that_the_caches_know(layers):
    assert LMUConfig(num_hidden_layers=layers).layer_types == ["lmu"] * layers


@pytest.mark.parametrize(
    ("fields", "channels"),
    [
        ({"memory_channels": 5}, [5, 5, 5]),
        ({}, [8, 8, 8]),
        ({"block_type": "lmu", "input_size": 2}, [2, 8, 8]),
        ({"block_type": "lmu", "embedding_size": 3}, [3, 8, 8]),
        ({"block_type": "highway", "embedding_size": 3}, [3, 8, 8]),
        ({"block_type": "residual", "embedding_size": 3}, [8, 8, 8]),
        ({"block_type": "lmu", "embedding_size": 3, "deep_representations": True}, [8, 8, 8]),
    ],
)
def test_the_carried_numbers_are_channels_times_order_over_all_layers(fields, channels):
    config = LMUConfig(hidden_size=8, num_hidden_layers=3, order=4, **fields)
    assert [config.layer_channels(layer) for layer in range(3)] == channels
    assert config.state_size == 4 * sum(channels)


# --------------------------------------------------------------------------- what is written down and read back


@given(legal_fields())
def test_a_config_survives_json(tmp_path_factory, fields):
    config = LMUConfig(**fields)
    folder = tmp_path_factory.mktemp("config")
    config.save_pretrained(folder)
    back = AutoConfig.from_pretrained(folder)
    assert type(back) is LMUConfig
    assert as_json(back) == as_json(config)


@given(legal_fields())
def test_a_dictionary_and_a_deep_copy_are_the_same_config(fields):
    config = LMUConfig(**fields)
    assert as_json(LMUConfig.from_dict(config.to_dict())) == as_json(config)
    assert as_json(LMUConfig(**config.to_dict())) == as_json(config)
    assert as_json(copy.deepcopy(config)) == as_json(config)


def test_a_deep_copy_shares_nothing():
    config = LMUConfig(num_hidden_layers=2, theta=[3.0, 4.0])
    copy.deepcopy(config).theta.append(5.0)
    assert config.theta == [3.0, 4.0]


def test_names_of_labels_survive_saving(tmp_path):
    names = {0: "negative", 1: "neutral", 2: "positive"}
    LMUConfig(id2label=names, label2id={name: i for i, name in names.items()}).save_pretrained(tmp_path)
    back = AutoConfig.from_pretrained(tmp_path)
    assert (back.id2label, back.num_labels, back.label2id["positive"]) == (names, 3, 2)


def test_fields_are_overridden_while_loading(tmp_path):
    LMUConfig(order=5).save_pretrained(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path, order=7).order == 7


def test_the_family_is_known_by_its_name():
    config = AutoConfig.for_model("lmu", order=7)
    assert type(config) is LMUConfig
    assert config.order == 7
    assert type(AutoModel.from_config(config)) is LMUModel


def test_transformers_own_fields_are_not_taken_for_typing_errors():
    base = {field.name: field.default for field in dataclasses.fields(PreTrainedConfig) if field.init}
    given = {name: value for name, value in base.items() if value is not dataclasses.MISSING}
    assert set(LMUConfig(**given).to_dict()) >= {"problem_type", "return_dict", "architectures"} & set(given)


@pytest.mark.parametrize("name", ["sep_token_id", "unk_token_id", "problem_type", "num_labels"])
def test_usual_keys_of_other_checkpoints_are_accepted(name):
    value = "regression" if name == "problem_type" else 1
    assert getattr(LMUConfig(**{name: value}), name) == value


def test_a_config_made_invalid_by_assignment_is_not_saved(tmp_path):
    config = LMUConfig()
    config.order = 0
    with pytest.raises(StrictDataclassError, match="order must be at least 1, got 0"):
        config.save_pretrained(tmp_path)


def test_a_wrong_type_is_not_assigned():
    config = LMUConfig()
    with pytest.raises(StrictDataclassError, match=r"'order'.*'many'"):
        config.order = "many"


# --------------------------------------------------------------------------- what is refused


def test_the_tables_of_this_file_cover_every_field():
    tables = {*AT_LEAST_ONE, *AT_LEAST_ZERO, *PROBABILITIES, *ABOVE_ZERO, *WORDS, *SWITCHES}
    others = {"theta", "decoder_theta", "pair_features", "pad_token_id", "bos_token_id", "eos_token_id"}
    others |= {"decoder_start_token_id", "permutation_seed", *OPTIONS}
    assert tables | others == set(OWN_FIELDS)


@pytest.mark.parametrize("value", [{1: "a"}, 1j, b"bytes"], ids=str)
@pytest.mark.parametrize("field", OWN_FIELDS)
def test_a_wrong_type_is_refused_by_name_and_value(field, value):
    message = refusal(**{field: value})
    assert f"'{field}'" in message
    assert repr(value) in message


@pytest.mark.parametrize("field", AT_LEAST_ONE + AT_LEAST_ZERO)
@pytest.mark.parametrize("value", [2.5, "3", True], ids=repr)
def test_integer_fields_take_integers_only(field, value):
    message = refusal(**{field: value})
    assert f"'{field}'" in message
    assert repr(value) in message


@pytest.mark.parametrize("field", SWITCHES)
@pytest.mark.parametrize("value", [1, 0, "true", None], ids=repr)
def test_boolean_fields_take_booleans_only(field, value):
    message = refusal(**{field: value})
    assert f"'{field}' expected bool" in message
    assert repr(value) in message


@given(st.sampled_from(AT_LEAST_ONE), st.integers(-(2**31), 0))
def test_sizes_below_one_are_refused(field, value):
    assert f"{field} must be at least 1, got {value}" in refusal(**{field: value})


@given(st.sampled_from(AT_LEAST_ZERO), st.integers(max_value=-1))
def test_counts_below_zero_are_refused(field, value):
    assert f"{field} must not be negative, got {value}" in refusal(**{field: value})


@given(st.sampled_from(PROBABILITIES), st.floats().filter(lambda p: not 0 <= p < 1))
def test_dropouts_that_are_no_probabilities_are_refused(field, value):
    assert f"{field} must be a probability in [0, 1), got {value}" in refusal(**{field: value})


@given(st.sampled_from(ABOVE_ZERO), st.floats(max_value=0) | st.just(math.nan))
def test_scales_that_are_not_positive_are_refused(field, value):
    assert f"{field} must be positive, got {value}" in refusal(**{field: value})


@pytest.mark.parametrize("field", ABOVE_ZERO)
def test_infinite_scales_are_refused(field):
    assert field in refusal(**{field: math.inf})


@given(st.floats(max_value=1, exclude_max=True) | st.sampled_from([math.nan, math.inf]), st.booleans())
def test_a_window_shorter_than_a_step_or_not_finite_is_refused(theta, listed):
    message = refusal(theta=[16.0, theta] if listed else theta, num_hidden_layers=2)
    assert "theta must be a number of time steps" in message
    assert f"got {theta}" in message


@pytest.mark.parametrize("field", WORDS)
def test_an_unknown_choice_is_refused_with_the_known_ones(field):
    message = refusal(**{field: "nonsense"})
    assert field in message
    assert "'nonsense'" in message
    assert all(word in message for word in CHOICES[field])


@pytest.mark.parametrize("value", [[], ["first", "sum"], ()], ids=repr)
def test_unknown_or_no_pair_features_are_refused(value):
    message = refusal(pair_features=value)
    assert "pair_features must be a non-empty list" in message
    assert repr(value) in message


def test_a_repeated_pair_feature_is_refused():
    assert "pair_features" in refusal(pair_features=["first", "first"])


def test_a_seed_that_no_generator_takes_is_refused():
    assert "permutation_seed" in refusal(permutation_seed=2**64)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("hidden_sise", "hidden_size"),
        ("num_hidden_layer", "num_hidden_layers"),
        ("ordr", "order"),
        ("thetas", "theta"),
        ("memory_channel", "memory_channels"),
        ("discretisation", "discretization"),
        ("blocktype", "block_type"),
        ("bidirectionnal", "bidirectional"),
        ("poling", "pooling"),
        ("pair_feature", "pair_features"),
        ("permutaton_seed", "permutation_seed"),
    ],
)
def test_a_mistyped_field_is_refused_with_the_one_that_was_meant(typed, meant):
    assert refusal(**{typed: 1}) == f"LMUConfig has no field '{typed}'; did you mean '{meant}'?"


@given(st.sampled_from([name for name in OWN_FIELDS if len(name) > 6]), st.data())
def test_a_missing_letter_is_noticed_in_every_long_name(field, data):
    place = data.draw(st.integers(0, len(field) - 1))
    assert "did you mean" in refusal(**{field[:place] + field[place + 1 :]: 1})


def test_a_mistyped_key_of_a_hand_edited_file_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "lmu", "hiden_size": 8}))
    with pytest.raises(ValueError, match="did you mean 'hidden_size'"):
        AutoConfig.from_pretrained(tmp_path)


@pytest.mark.parametrize("count", [1, 3])
def test_a_list_of_windows_is_as_long_as_the_layers_are_many(count):
    assert f"theta lists {count} windows for num_hidden_layers=2" in refusal(theta=[8] * count, num_hidden_layers=2)


def test_a_model_needs_a_vocabulary_or_an_input_size():
    message = refusal(vocab_size=None)
    assert "vocab_size" in message
    assert "input_size" in message


def test_an_identity_encoder_has_no_channels_of_its_own():
    assert "leave memory_channels out, got 3" in refusal(encoder="identity", memory_channels=3)


@given(st.integers(1, 4), st.integers(1, 4), st.booleans(), st.integers(1, 40))
def test_a_memory_that_is_its_own_readout_is_as_wide_as_the_layer(channels, order, bidirectional, hidden_size):
    fields = {"memory_channels": channels, "order": order, "hidden_size": hidden_size, "readout": "memory"}
    fields |= {"bidirectional": bidirectional, "pooling": "mean"}
    width = channels * order * (2 if bidirectional else 1)
    if hidden_size == width:
        assert LMUConfig(**fields).hidden_size == width
    else:
        assert f"hidden_size must be {width}, got {hidden_size}" in refusal(**fields)


def test_last_pooling_is_refused_for_a_bidirectional_model():
    message = refusal(bidirectional=True)
    assert "pooling='last'" in message
    assert "bidirectional=True" in message


def test_last_pooling_is_refused_with_alignment():
    assert "alignment compares all steps: choose pooling 'mean', 'max'" in refusal(alignment={"size": 3})


@given(st.integers(1, 12), st.floats(1, 200))
def test_an_euler_config_is_accepted_exactly_where_its_memory_is_stable(order, theta):
    i, j = torch.meshgrid(torch.arange(order), torch.arange(order), indexing="ij")
    A = (2 * i + 1) / theta * torch.where(i < j, -1.0, (-1.0) ** (i - j + 1)).double()
    radius = torch.linalg.eigvals(torch.eye(order) + A).abs().max().item()
    fields = {"discretization": "euler", "order": order, "theta": theta, "hidden_size": 4, "num_hidden_layers": 1}
    if abs(radius - 1) < 1e-5:  # too close for float32 and float64 to agree
        return
    if radius < 1:
        LMUModel(LMUConfig(**fields))
    else:
        with pytest.raises(ValueError, match="unstable") as caught:
            LMUModel(LMUConfig(**fields))
        message = str(caught.value)
        assert all(word in message for word in ("discretization='euler'", f"order={order}", "theta=", "'zoh'"))


def test_one_unstable_layer_is_enough_to_refuse():
    with pytest.raises(ValueError, match="theta=6 is unstable"):
        LMUModel(LMUConfig(discretization="euler", order=6, theta=[600, 6], num_hidden_layers=2))


def test_the_system_and_the_config_agree_on_what_a_window_is():
    with pytest.raises(ValueError, match="theta") as caught:
        LegendreSystem(4, 0.5)
    assert str(caught.value) in refusal(theta=0.5)


def test_the_choices_of_the_config_are_those_of_the_modules():
    assert CHOICES["discretization"] == DISCRETIZATIONS
    assert CHOICES["basis"] == BASES
    assert {name: CHOICES[name] for name in LAYER_WORDS if name in CHOICES} == {
        name: words for name, words in LAYER_WORDS.items() if name in CHOICES
    }
    assert CHOICES["norm"] == tuple(NORMS)
    assert CHOICES["block_type"] == tuple(BLOCKS)
    assert MAX_THETA == statespace.MAX_THETA


# --------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"ngrams": {"size": [2]}}, "ngrams has no entry 'size'; did you mean 'sizes'?"),
        ({"ngrams": {"buckets": 9}}, "ngrams={'buckets': 9} lacks an entry"),
        ({"ngrams": {"sizes": [2], "width": 0}}, "ngrams: width must be a whole number from 1 to 2147483647, got 0"),
        ({"ngrams": {"sizes": [2], "dropout": 1}}, "ngrams: dropout must be a probability in [0, 1), got 1"),
        ({"votes": {"sizes": "12"}}, "votes: sizes must be a list of lengths from 1 to 64, none twice, got '12'"),
        ({"alignment": {"size": True}, "pooling": "mean"}, "alignment: size must be a whole number"),
    ],
    ids=str,
)
def test_an_options_record_is_checked_by_its_own_module(fields, message):
    assert message in refusal(**fields)


def test_an_options_record_is_written_down_with_its_defaults():
    assert LMUConfig(ngrams={"sizes": [2]}).ngrams == {"sizes": [2], "buckets": 32_768, "width": 64, "dropout": 0.0}


# --------------------------------------------------------------------------- what no machine holds


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "fields",
    [
        {"vocab_size": 10**9},
        {"hidden_size": 10**6},
        {"order": 10**6},
        {"order": 40_000},
        {"memory_channels": 10**9},
        {"intermediate_size": 10**10},
        {"ngrams": {"sizes": [2, 3], "buckets": 10**9}},
        {"votes": {"sizes": [1, 2, 3], "buckets": 10**9}},
        {"num_hidden_layers": 1000, "hidden_size": 8192},
    ],
    ids=str,
)
def test_a_config_beyond_32_gib_is_refused_before_anything_is_allocated(fields):
    message = refusal(**fields)
    assert "GiB; the limit is 32 GiB" in message
    assert any(field in message for field in [*fields, "hidden_size"])


def test_embeddings_that_are_too_wide_are_refused_by_their_width():
    assert "embedding_size" in refusal(embedding_size=10**9)


@pytest.mark.parametrize(
    "fields",
    [
        {"head_hidden_size": 10**12},
        {"output_size": 10**12},
        {"input_size": 10**12},
        {"input_size": 10**12, "block_type": "lmu", "memory_channels": 1},
        {"input_size": 1, "image_size": 10**7},
        {"num_highway_layers": 10**9, "block_type": "highway"},
        {"num_highway_layers": 10**9, "deep_representations": True},
        {"vocab_size": 2**23, "hidden_size": 1000, "order": 2, "num_hidden_layers": 8, "memory_channels": 500_000},
    ],
    ids=str,
)
def test_every_part_of_a_model_counts_towards_the_size_limit(fields):
    assert "GiB" in refusal(**fields)


def test_the_size_is_checked_without_a_walk_over_the_layers(monkeypatch):
    asked = []
    monkeypatch.setattr(LMUConfig, "layer_channels", lambda self, layer: asked.append(layer) or 8)
    refusal(num_hidden_layers=10_000, hidden_size=8192)
    assert len(asked) < 10


@pytest.mark.parametrize("layers", [10**19, -(10**19)])
def test_a_count_of_layers_is_checked_before_a_list_of_them_is_made(layers):
    assert "num_hidden_layers" in refusal(num_hidden_layers=layers)


# --------------------------------------------------------------------------- what transformers' own fields say

INHERITED = [
    ({"num_labels": 10**7}, "num_labels must be an integer from 1 to 1000000, got 10000000"),
    ({"num_labels": -3}, "num_labels must be an integer from 1 to 1000000, got -3"),
    ({"num_labels": 2.5}, "num_labels must be an integer from 1 to 1000000, got 2.5"),
    ({"id2label": {0: "a", 2: "b"}}, "id2label must name each of 0 … 1 once, got the ids 0, 2"),
    ({"id2label": {0: 1}}, "id2label must give each label a name in letters, got 1"),
    ({"id2label": {}}, "num_labels must be an integer from 1 to 1000000, got 0"),
    ({"problem_type": "guess"}, "problem_type must be one of ('regression', "),
    ({"problem_type": "single_label_classification", "num_labels": 1}, "got num_labels=1: set num_labels=2"),
    ({"pad_token_id": -1}, "pad_token_id must be a token id, 0 or more, or None, got -1"),
    ({"eos_token_id": [1, 999]}, "eos_token_id must be below vocab_size=256, got 999"),
    ({"sep_token_id": 256}, "sep_token_id must be below vocab_size=256, got 256"),
    ({"dtype": "load"}, "dtype must be a floating-point type of torch, such as 'float32' or 'bfloat16', got 'load'"),
    ({"dtype": "int32"}, "got 'int32'"),
    ({"architectures": "LMUModel"}, "architectures must be a list of class names, got 'LMUModel'"),
    ({"transformers_weights": "adapter_model.bin"}, "must name a *.safetensors file of the folder"),
    ({"transformers_weights": "../x.safetensors"}, "must name a *.safetensors file of the folder"),
]


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("fields", "message"), INHERITED, ids=str)
def test_inherited_fields_are_refused_by_name(fields, message):
    assert message in refusal(**fields)


def test_inherited_fields_are_checked_where_they_are_assigned_and_saved(tmp_path):
    config = LMUConfig(num_labels=5)
    with pytest.raises(ValueError, match="num_labels must be an integer from 1 to 1000000, got 10000000"):
        config.num_labels = 10**7
    assert config.num_labels == 5
    config.eos_token_id = 256
    with pytest.raises(StrictDataclassError, match="eos_token_id must be below vocab_size=256, got 256"):
        config.save_pretrained(tmp_path)


def test_special_token_ids_are_not_checked_for_a_signal():
    assert LMUConfig(input_size=1, eos_token_id=999).eos_token_id == 999
