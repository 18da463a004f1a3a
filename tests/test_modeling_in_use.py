"""Stacks in use: what is saved is what is loaded, how a fresh one starts, what transformers expects, and compiled."""

import inspect

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.testing import assert_close
from transformers import AutoModel

from lmu_hf import LMUConfig, LMUModel, LMUPreTrainedModel
from lmu_hf.blocks_lmu import Highway
from lmu_hf.layers import LMULayer
from tiny_stacks import (
    EVERY,
    LONG,
    VOCABULARY,
    WIDTH,
    assert_near,
    build,
    draw_ids,
    padded,
    tiny,
    written_and_carried,
)

# --------------------------------------------------------------------------- saved and loaded


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> tuple[LMUModel, str]:
    """A model with every kind of parameter, and the folder that it was saved in."""
    model = build(ONE_OF_EACH, torch.float32)
    folder = tmp_path_factory.mktemp("saved")
    model.save_pretrained(folder)
    return model, str(folder)


ONE_OF_EACH = {"block_type": "highway", "deep_representations": True, "hidden_size": 1, "order": 4}


def assert_same_weights(actual: nn.Module, expected: nn.Module) -> None:
    actual, expected = actual.state_dict(), expected.state_dict()
    assert actual.keys() == expected.keys()
    assert all(torch.equal(actual[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    "options",
    [{}, {"dtype": "auto"}, {"device_map": "cpu"}, {"device_map": "auto"}, {"device_map": {"": "cpu"}}],
    ids=str,
)
def test_a_loaded_model_is_the_saved_one_to_the_bit(saved, options):
    model, folder = saved
    for back in (LMUModel.from_pretrained(folder, **options), AutoModel.from_pretrained(folder, **options)):
        assert type(back) is LMUModel
        assert not back.training
        assert_same_weights(back, model)
        assert torch.equal(back(draw_ids(2, 40))[0], model(draw_ids(2, 40))[0])


@pytest.mark.parametrize("changes", EVERY.values(), ids=EVERY)
def test_every_architecture_is_saved_and_loaded(changes, tmp_path):
    model = build(changes, torch.float32)
    model.save_pretrained(tmp_path)
    back = AutoModel.from_pretrained(tmp_path)
    assert_same_weights(back, model)
    assert torch.equal(back(draw_ids(2, 40))[0], model(draw_ids(2, 40))[0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("device_map", [None, "auto"])
def test_loading_in_half_precision_is_casting(saved, dtype, device_map):
    _, folder = saved
    back = LMUModel.from_pretrained(folder, dtype=dtype, device_map=device_map)
    cast = build(ONE_OF_EACH, torch.float32).to(dtype)
    assert_same_weights(back, cast)
    assert torch.equal(back(draw_ids(2, 40))[0], cast(draw_ids(2, 40))[0])


def test_a_half_precision_checkpoint_keeps_its_dtype_and_its_memory(tmp_path):
    model = build(LONG, torch.float32).to(torch.bfloat16)
    model.save_pretrained(tmp_path)
    back, ids = LMUModel.from_pretrained(tmp_path, dtype="auto"), draw_ids(2, 300)
    assert back.dtype == torch.bfloat16
    assert torch.equal(written_and_carried(back, ids, 300)[1], written_and_carried(model, ids, 300)[1])


def test_a_model_made_on_the_meta_device_takes_weights(saved):
    model, _ = saved
    with torch.device("meta"):
        empty = LMUModel(model.config)
    assert {parameter.device.type for parameter in empty.parameters()} == {"meta"}
    empty.load_state_dict(model.state_dict(), assign=True)
    assert torch.equal(empty.eval()(draw_ids(2, 40))[0], model(draw_ids(2, 40))[0])


def test_loading_inside_a_meta_context_gives_a_meta_model_or_says_why_not(saved):
    model, folder = saved
    with torch.device("meta"):
        try:
            back = LMUModel.from_pretrained(folder)
        except (RuntimeError, ValueError) as refusal:
            assert "meta" in str(refusal)
            return
    assert back.state_dict().keys() == model.state_dict().keys()


def test_the_file_holds_the_parameters_and_nothing_else(saved):
    model, folder = saved
    tensors = load_file(f"{folder}/model.safetensors")
    assert tensors.keys() == dict(model.named_parameters()).keys()
    assert len({parameter.data_ptr() for parameter in model.parameters()}) == len(tensors)


@pytest.mark.parametrize("tied", [True, False])
def test_a_body_has_nothing_to_tie(tied, tmp_path):
    model = build({"tie_word_embeddings": tied}, torch.float32)
    model.save_pretrained(tmp_path)
    back, report = LMUModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())
    assert_same_weights(back, model)


def test_saving_in_shards_changes_nothing(saved, tmp_path):
    model, _ = saved
    model.save_pretrained(tmp_path, max_shard_size=60)
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert_same_weights(LMUModel.from_pretrained(tmp_path), model)


def test_missing_weights_are_made_and_loaded_ones_left_alone(saved, tmp_path):
    model, folder = saved
    model.config.save_pretrained(tmp_path)
    tensors = load_file(f"{folder}/model.safetensors")
    layer = ["memory.encoder.weight", "highways.0.gate.bias"]
    missing = [*(f"layers.0.{name}" for name in layer), "mixture.scores", "embed_tokens.weight"]
    save_file({name: value for name, value in tensors.items() if name not in missing}, tmp_path / "model.safetensors")
    back, report = LMUModel.from_pretrained(tmp_path, output_loading_info=True)
    assert set(report["missing_keys"]) == set(missing)
    actual = back.state_dict()
    assert all(torch.equal(actual[name], tensors[name]) for name in tensors if name not in missing)
    assert not any(torch.equal(actual[name], tensors[name]) or actual[name].isnan().any() for name in missing)


# --------------------------------------------------------------------------- fresh models


@pytest.mark.parametrize("changes", EVERY.values(), ids=EVERY)
def test_fresh_weights_are_finite_and_follow_the_seed(changes):
    def fresh(seed: int) -> LMUModel:
        torch.manual_seed(seed)
        return LMUModel(tiny(**changes))

    assert_same_weights(fresh(1), fresh(1))
    assert all(parameter.isfinite().all() for parameter in fresh(1).parameters())
    assert not torch.equal(fresh(1).embed_tokens.weight, fresh(2).embed_tokens.weight)


def test_fresh_projections_keep_variance():
    model = LMUModel(tiny(hidden_size=200, block_type="highway", memory_channels=100, initializer_range=0.3))
    for module in model.modules():
        if isinstance(module, nn.Linear):
            assert module.weight.std().item() == pytest.approx(module.in_features**-0.5, rel=0.05)
    assert model.embed_tokens.weight.std().item() == pytest.approx(0.3, rel=0.05)


def test_a_fresh_mixture_weighs_everything_alike():
    model = LMUModel(tiny(deep_representations=True))
    assert (model.mixture.scores == 0).all()
    assert model.mixture.scale == 1


def test_fresh_highway_gates_carry_their_input():
    model = LMUModel(tiny(block_type="highway"))
    gates = [module.gate.bias for module in model.modules() if isinstance(module, Highway)]
    assert len(gates) == 2
    assert all((bias == -1).all() for bias in gates)


def test_an_encoder_of_one_number_starts_as_the_number_itself():
    model = LMUModel(tiny(input_size=1, block_type="lmu", num_hidden_layers=1, theta=9))
    assert (model.layers[0].memory.encoder.weight == 1).all()
    assert (model.layers[0].memory.encoder.bias == 0).all()


@pytest.mark.parametrize("changes", EVERY.values(), ids=EVERY)
def test_every_tensor_is_a_parameter(changes):
    model = build(changes)
    for module in model.modules():
        assert not [name for name, value in vars(module).items() if isinstance(value, Tensor)]
    assert not list(model.named_buffers())  # frozen matrices are derived, never stored


def test_parameters_are_counted():
    model = LMUModel(tiny())
    assert model.num_parameters() == sum(parameter.numel() for parameter in model.parameters())
    assert model.num_parameters() - model.num_parameters(exclude_embeddings=True) == VOCABULARY * WIDTH
    model.embed_tokens.requires_grad_(False)
    assert model.num_parameters() - model.num_parameters(only_trainable=True) == VOCABULARY * WIDTH


def test_the_parameters_of_a_layer_are_those_of_its_equations():
    layer = LMUModel(tiny(num_hidden_layers=1, theta=9, memory_channels=2, block_type="lmu", order=5)).layers[0]
    eq_18, eq_20 = 6 * 2 + 2, 2 * 5 * 6 + 6 * 6 + 6
    assert sum(parameter.numel() for parameter in layer.parameters()) == eq_18 + eq_20


# --------------------------------------------------------------------------- what transformers expects of a model


def test_forward_names_what_callers_pass():
    names = list(inspect.signature(LMUModel.forward).parameters)
    assert names[1] == LMUModel.main_input_name
    assert {"attention_mask", "past_key_values", "inputs_embeds", "use_cache", "kwargs"} <= set(names)


def test_token_type_ids_of_tokenizers_are_accepted():
    model, ids = build({}), draw_ids(2, 5)
    assert torch.equal(model(ids, token_type_ids=ids)[0], model(ids)[0])


def test_a_model_has_the_attributes_that_transformers_expects():
    assert LMUModel.config_class is LMUConfig
    assert issubclass(LMUModel, LMUPreTrainedModel)
    model = LMUModel(tiny())
    assert model.base_model is model
    assert model.get_input_embeddings() is model.embed_tokens
    other = nn.Embedding(11, 6)
    model.set_input_embeddings(other)
    assert model.get_input_embeddings() is other
    assert model.supports_gradient_checkpointing
    assert {type(layer).__name__ for layer in model.layers} <= set(model._no_split_modules)


@pytest.mark.parametrize("size", [20, 5])
def test_embeddings_are_resized(size):
    model = build({}, torch.float32)
    before = model.embed_tokens.weight.clone()
    model.resize_token_embeddings(size)
    assert model.embed_tokens.weight.shape == (size, 6)
    assert model.config.vocab_size == size
    assert torch.equal(model.embed_tokens.weight[: min(size, 11)], before[:size])
    assert model(torch.full((1, 3), size - 1)).last_hidden_state.isfinite().all()
    with pytest.raises(ValueError, match=f"input_ids holds {size}"):
        model(torch.full((1, 3), size))


def test_a_resized_model_is_saved_and_loaded(tmp_path):
    model = build({}, torch.float32)
    model.resize_token_embeddings(20)
    model.save_pretrained(tmp_path)
    assert_same_weights(LMUModel.from_pretrained(tmp_path), model)


def test_layers_are_found_by_their_kind():
    model = LMUModel(tiny())
    assert sum(isinstance(module, LMULayer) for module in model.modules()) == 2
    assert "zoh" in repr(model)


# --------------------------------------------------------------------------- compiled


@pytest.mark.slow
@pytest.mark.parametrize("changes", EVERY.values(), ids=EVERY)
def test_one_graph_holds_the_model(changes):
    model, ids = build(changes), draw_ids(2, 40)
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    assert_near(compiled(ids, use_cache=False)[0], model(ids, use_cache=False)[0])


@pytest.mark.slow
def test_one_graph_holds_a_masked_model():
    model, ids, mask = build({}), draw_ids(3, 40), padded("holes", 40)
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    assert_near(
        compiled(ids, attention_mask=mask, use_cache=False)[0], model(ids, attention_mask=mask, use_cache=False)[0]
    )


@pytest.mark.slow
def test_a_compiled_model_has_the_same_gradients():
    torch._dynamo.reset()
    model, ids = build({}).train(), draw_ids(2, 40)
    model(ids)[0].square().sum().backward()
    expected = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    torch.compile(model, fullgraph=True, backend="aot_eager")(ids)[0].square().sum().backward()
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        assert_close(parameter.grad, gradient, rtol=1e-10, atol=1e-10)
