"""A weight is read past its module only where the module is no more than it: hooked, adapted, offloaded, quantised."""

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from accelerate import cpu_offload, disk_offload, dispatch_model
from accelerate.hooks import remove_hook_from_module
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm
from torch.testing import assert_close

from families import config_of
from lmu_hf import (
    LMUForCausalLM,
    LMUForConditionalGeneration,
    LMUForImageClassification,
    LMUForSequenceClassification,
    LMUForTimeSeriesPrediction,
)
from lmu_hf.activations import computing_dtype
from lmu_hf.layers import is_bare, is_plain

SMALL: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "order": 4, "theta": [5.0, 30.0]}
TOKENS: dict[str, Any] = {**SMALL, "vocab_size": 29, "pad_token_id": 0, "eos_token_id": None, "bos_token_id": None}
IDS = torch.randint(3, 29, (2, 40), generator=torch.Generator().manual_seed(0))
VALUES = torch.randn(2, 40, 2, generator=torch.Generator().manual_seed(0))
TRANSLATION = {"is_encoder_decoder": True, "num_attention_heads": 2, "decoder_start_token_id": 1}
HEADS: dict[str, tuple[type, dict, dict[str, Tensor]]] = {
    "language model": (LMUForCausalLM, {**TOKENS, "block_type": "residual"}, {"input_ids": IDS}),
    "sequences": (LMUForSequenceClassification, {**TOKENS, "num_labels": 3, "pooling": "mean"}, {"input_ids": IDS}),
    "both ways": (
        LMUForSequenceClassification,
        {**TOKENS, "pooling": "max", "bidirectional": True},
        {"input_ids": IDS},
    ),
    "pairs": (
        LMUForSequenceClassification,
        {**TOKENS, "sequences_per_row": 2},
        {"input_ids": IDS, "token_type_ids": (torch.arange(40) >= 20).long().expand(2, -1)},
    ),
    "images": (
        LMUForImageClassification,
        {**SMALL, "input_size": 1, "image_size": 8},
        {"pixel_values": VALUES[:, :32].reshape(2, 1, 8, 8)},
    ),
    "series": (LMUForTimeSeriesPrediction, {**SMALL, "input_size": 2, "output_size": 2}, {"input_values": VALUES}),
    "translation": (
        LMUForConditionalGeneration,
        {**TOKENS, **TRANSLATION},
        {"input_ids": IDS, "decoder_input_ids": IDS[:, :9]},
    ),
    "lstm": (LMUForCausalLM, {**TOKENS, "model_type": "lmu_lstm"}, {"input_ids": IDS}),
}
each_head = pytest.mark.parametrize("head", HEADS)


def build(head: str, **changes) -> tuple[Any, dict[str, Tensor]]:
    kind, fields, inputs = HEADS[head]
    torch.manual_seed(0)
    return kind(config_of({**fields, **changes})).eval(), inputs


def outputs(model: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        return model(**inputs)[0]


def linears(model: nn.Module) -> list[tuple[nn.Module, str, nn.Linear]]:
    """Every linear module, with its parent and its name there."""
    found = [(parent, name, child) for parent in model.modules() for name, child in parent.named_children()]
    return [entry for entry in found if isinstance(entry[2], nn.Linear)]


# --------------------------------------------------------------------------- the same numbers from elsewhere


def in_blocks(model: Any, folder: Any) -> None:
    """Some modules left here, the rest on disk, as ``from_pretrained(device_map=...)`` leaves them."""
    places = {name: "disk" for name, _ in model.named_children()} | {name: "cpu" for name in model.state_dict()}
    places = {name: where for name, where in places.items() if where == "disk" or "." not in name}
    dispatch_model(model, places, main_device="cpu", offload_dir=folder, force_hooks=True)


OFFLOADS: dict[str, Callable] = {
    "memory": lambda model, folder: cpu_offload(model, torch.device("cpu")),
    "disk": lambda model, folder: disk_offload(model, str(folder), torch.device("cpu")),
    "device map": in_blocks,
}


@each_head
@pytest.mark.parametrize("offload", OFFLOADS.values(), ids=OFFLOADS)
def test_an_offloaded_model_computes_the_same(head, offload, tmp_path):
    model, inputs = build(head)
    expected = outputs(model, inputs)
    offload(model, tmp_path)
    assert any(parameter.device.type == "meta" for parameter in model.parameters())
    assert_close(outputs(model, inputs), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("head", ["language model", "translation"])
def test_an_offloaded_model_generates(head, tmp_path):
    model, inputs = build(head)
    how: dict[str, Any] = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    expected = model.generate(inputs["input_ids"], **how)
    cpu_offload(model, torch.device("cpu"))
    assert torch.equal(model.generate(inputs["input_ids"], **how), expected)


def test_an_offloaded_model_streams():
    model, _ = build("language model")
    expected = list(model.stream(IDS[0], max_new_tokens=8))
    cpu_offload(model, torch.device("cpu"))
    assert list(model.stream(IDS[0], max_new_tokens=8)) == expected


def test_a_module_is_plain_again_once_accelerates_hooks_are_removed():
    model, _ = build("language model")
    readout = model.model.layers[0].memory.memory_readout
    cpu_offload(model, torch.device("cpu"))
    assert not is_plain(readout)
    remove_hook_from_module(model, recurse=True)
    assert is_plain(readout) and is_bare(model)


# --------------------------------------------------------------------------- more than a weight


class Adapter(nn.Module):
    """A low-rank sum beside a linear module that it took the place of, as adapters are; the weight is there to read."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base
        self.down, self.up = nn.Linear(base.in_features, 2, bias=False), nn.Linear(2, base.out_features, bias=False)

    @property
    def weight(self) -> Tensor:
        return self.base.weight

    @property
    def bias(self) -> Tensor | None:
        return self.base.bias

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.up(self.down(x))


class Halved(Tensor):
    """A weight that is kept as something else: its products are half of what its numbers say."""

    @classmethod
    def __torch_function__(cls, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            if function is nn.functional.linear:
                return function(args[0], args[1].as_subclass(Tensor) / 2, *args[2:])
            result = function(*args, **(kwargs or {}))
            return result.as_subclass(cls) if function is Tensor.detach else result


def adapt(model: nn.Module) -> None:
    for parent, name, linear in linears(model):
        setattr(parent, name, Adapter(linear))


def halve(model: nn.Module) -> None:
    for *_, linear in linears(model):
        linear.weight = nn.Parameter(linear.weight.detach().as_subclass(Halved), requires_grad=False)


def hook_all(model: nn.Module) -> None:
    for *_, linear in linears(model):
        linear.register_forward_hook(lambda module, args, output: 2 * output)


def replace_all(model: nn.Module) -> None:
    for *_, linear in linears(model):
        linear.forward = lambda x, linear=linear: nn.functional.linear(x, linear.weight / 2, linear.bias)


def prune_all(model: nn.Module) -> None:
    for *_, linear in linears(model):
        prune.l1_unstructured(linear, "weight", amount=0.5)
        with torch.no_grad():
            linear.weight.zero_()  # what lies there is made anew at each call


def reparametrise(how: Callable) -> Callable[[nn.Module], None]:
    def all_of_them(model: nn.Module) -> None:
        for *_, linear in linears(model):
            how(linear)

    return all_of_them


def norm_then_scale(linear: nn.Module) -> None:
    parametrizations.weight_norm(linear)
    with torch.no_grad():
        linear.parametrizations.weight.original0.mul_(0.5)


def old_norm_then_scale(linear: nn.Module) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        weight_norm(linear)
    with torch.no_grad():
        linear.weight_g.mul_(0.5)


CHANGES: dict[str, Callable[[nn.Module], None]] = {
    "adapters": adapt,
    "a weight of a class of its own": halve,
    "hooks": hook_all,
    "another forward": replace_all,
    "pruning": prune_all,
    "weight norm": reparametrise(norm_then_scale),
    "weight norm, old": reparametrise(old_norm_then_scale),
    "spectral norm": reparametrise(parametrizations.spectral_norm),
    "spectral norm, old": reparametrise(spectral_norm),
}


@each_head
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_module_is_called_and_not_bypassed(head, change):
    # memory_form="chunked" makes every state and calls every module; pooling cannot go by the mean memory there.
    fast, inputs = build(head)
    slow, _ = build(head, memory_form="chunked")
    before = outputs(fast, inputs)
    for model in (fast, slow):
        torch.manual_seed(1)
        change(model)
        model.eval()
    found = outputs(fast, inputs)
    assert_close(found, outputs(slow, inputs), rtol=0, atol=1e-5)
    if slow.config.model_type == "lmu":
        assert (found - before).abs().max() > 1e-4


@pytest.mark.parametrize("register", [register_module_forward_hook, register_module_forward_pre_hook])
def test_hooks_on_all_modules_see_every_module(register):
    model, inputs = build("language model")
    seen = []
    handle = register(lambda module, *rest: seen.append(module))
    try:
        outputs(model, inputs)
        assert set(map(id, model.modules())) - set(map(id, seen)) <= {id(model.model.layers)}
        seen.clear()
        assert len(list(model.stream(IDS[0], max_new_tokens=3))) == 3
        assert seen.count(model.lm_head) == 3
    finally:
        handle.remove()


@each_head
def test_a_module_merged_or_pruned_for_good_is_plain_again(head):
    model, inputs = build(head)
    prune_all(model)
    for *_, linear in linears(model):
        prune.remove(linear, "weight")
        assert is_plain(linear) or type(linear) is not nn.Linear
    slow, _ = build(head, memory_form="chunked")
    slow.load_state_dict(model.state_dict())
    assert_close(outputs(model, inputs), outputs(slow, inputs), rtol=0, atol=1e-5)


NOT_PLAIN: dict[str, Callable[[], nn.Module]] = {
    "a subclass": lambda: type("Other", (nn.Linear,), {})(4, 4),
    "not there": lambda: nn.Linear(4, 4, device="meta"),
    "integers": lambda: quantised_by_hand(torch.int8),
    "eight bits": lambda: quantised_by_hand(torch.float8_e4m3fn),
    "sparse": lambda: with_weight(torch.eye(4).to_sparse()),
    "no linear module": lambda: nn.LayerNorm(4),
}


def with_weight(weight: Tensor) -> nn.Linear:
    linear = nn.Linear(4, 4)
    linear.weight = nn.Parameter(weight, requires_grad=False)
    return linear


def quantised_by_hand(dtype: torch.dtype) -> nn.Linear:
    return with_weight(torch.ones(4, 4).to(dtype))


@pytest.mark.parametrize("make", NOT_PLAIN.values(), ids=NOT_PLAIN)
def test_modules_that_compute_more_than_their_weight_are_not_plain(make):
    assert not is_plain(make())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_a_bare_linear_module_is_plain(dtype):
    assert is_plain(nn.Linear(4, 4, dtype=dtype)) and is_plain(nn.Linear(4, 4, bias=False, dtype=dtype))


def test_the_computing_dtype_is_not_the_storage_dtype():
    linear = quantised_by_hand(torch.int8)
    linear.bias = nn.Parameter(torch.zeros(4, dtype=torch.bfloat16))
    assert computing_dtype(linear, torch.float32) == torch.bfloat16
    assert computing_dtype(nn.Linear(4, 4, dtype=torch.float64), torch.float32) == torch.float64
    assert computing_dtype(nn.Identity(), torch.float64) == torch.float64


# --------------------------------------------------------------------------- quantised


def dynamically(model: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(copy.deepcopy(model), {nn.Linear}, dtype=torch.qint8)


@each_head
def test_dynamic_quantisation_stays_near_the_model(head):
    model, inputs = build(head)
    expected, found = outputs(model, inputs), outputs(dynamically(model), inputs)
    assert 0 < (found - expected).norm() < 0.15 * expected.norm()


def test_a_float64_signal_is_cast_for_a_quantised_model():
    model, inputs = build("series", block_type="lmu", norm="layer")
    quantised = dynamically(model)
    found = outputs(quantised, {"input_values": inputs["input_values"].double()})
    assert torch.equal(found, outputs(quantised, inputs))


def test_a_dynamically_quantised_model_generates_and_streams_by_its_own_forward():
    model = dynamically(build("language model")[0])
    ids = IDS[:1]
    for _ in range(8):
        ids = torch.cat([ids, outputs(model, {"input_ids": ids})[:, -1:].argmax(-1)], dim=1)
    how: dict[str, Any] = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    assert torch.equal(model.generate(IDS[:1], **how), ids)
    assert list(model.stream(IDS[0], max_new_tokens=8)) == ids[0, 40:].tolist()


@pytest.mark.parametrize(
    "name", ["Int8WeightOnlyConfig", "Int8DynamicActivationInt8WeightConfig", "Float8WeightOnlyConfig"]
)
@pytest.mark.parametrize("head", ["language model", "sequences", "series", "translation"])
def test_torchao_quantisation_stays_near_the_model(head, name):
    quantisation = pytest.importorskip("torchao.quantization")
    model, inputs = build(head)
    expected = outputs(model, inputs)
    quantisation.quantize_(model, getattr(quantisation, name)())
    found = outputs(model, inputs)
    assert 0 < (found - expected).norm() < 0.15 * expected.norm()
    if head == "language model":
        assert len(list(model.stream(IDS[0], max_new_tokens=4))) == 4


@pytest.mark.parametrize("head", ["language model", "sequences", "series", "translation"])
def test_quanto_quantisation_stays_near_the_model(head):
    quanto = pytest.importorskip("optimum.quanto")
    model, inputs = build(head)
    expected = outputs(model, inputs)
    quanto.quantize(model, weights=quanto.qint8)
    quanto.freeze(model)
    assert 0 < (outputs(model, inputs) - expected).norm() < 0.15 * expected.norm()


@pytest.mark.parametrize("head", ["language model", "sequences", "series", "translation"])
def test_bitsandbytes_quantisation_stays_near_the_model(head):
    bnb = pytest.importorskip("bitsandbytes")
    model, inputs = build(head)
    expected = outputs(model, inputs)
    for parent, name, linear in linears(model):
        small = bnb.nn.Linear8bitLt(linear.in_features, linear.out_features, linear.bias is not None, False)
        small.load_state_dict(linear.state_dict())
        setattr(parent, name, small.to("cpu"))
    assert 0 < (outputs(model, inputs) - expected).norm() < 0.15 * expected.norm()


@pytest.mark.parametrize("head", ["language model", "sequences", "series", "translation"])
def test_lora_before_and_after_merging(head):
    peft = pytest.importorskip("peft")
    model, inputs = build(head)
    before = outputs(model, inputs)
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    config = peft.LoraConfig(target_modules=names, r=2, init_lora_weights=False)
    adapted = peft.get_peft_model(model, config).eval()
    expected = outputs(adapted, inputs)
    assert (expected - before).abs().max() > 1e-3
    with adapted.disable_adapter():
        assert_close(outputs(adapted, inputs), before, rtol=0, atol=1e-5)
    adapted.merge_adapter()
    assert_close(outputs(adapted, inputs), expected, rtol=0, atol=1e-4)
    assert_close(outputs(adapted.merge_and_unload(), inputs), expected, rtol=0, atol=1e-4)
