"""Muon: what its steps are, who takes them, and that it can be stopped and sharded."""

import re
from dataclasses import replace

import pytest
import torch
from torch import nn

import tiny_stacks
import tiny_translators
from lmu_hf import LMUForCausalLM, LMUForConditionalGeneration
from lmu_hf.common.record import RunRecord
from lmu_hf.training.learner import make_optimizer
from lmu_hf.training.muon import Muon, equalized
from lmu_hf.training.recipes import Recipe
from lmu_hf.training.recipes.base import OPTIMIZERS
from old_torch import has_muon
from test_processes import FSDP, TORCHRUN, finish, launch_two
from test_resume import RECIPE, assert_same_run, curve, run

MUON = replace(RECIPE, optimizer="muon")


@pytest.mark.parametrize("shape", [(5, 12), (12, 5), (7, 7), (1, 9), (3, 2, 6, 4)])
def test_singular_values_become_about_one_and_vectors_stay(shape):
    matrices = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    found = u.mT @ equalized(matrices) @ v.mT
    values = torch.diagonal(found, dim1=-2, dim2=-1)
    assert values.min() > 0.6 and values.max() < 1.25
    torch.testing.assert_close(found, torch.diag_embed(values), atol=1e-9, rtol=0)


def test_a_gradient_of_zeros_moves_nothing():
    weight = nn.Parameter(torch.ones(3, 4))
    optimizer = Muon([{"params": [weight], "matrices": 1, "weight_decay": 0.0}], lr=0.1)
    weight.grad = torch.zeros(3, 4)
    optimizer.step()
    assert torch.equal(weight, torch.ones(3, 4))


@has_muon
def test_steps_are_those_of_torch_s_muon_but_for_its_bfloat16():
    torch.manual_seed(0)
    ours, theirs = (nn.Parameter(tensor) for tensor in torch.randn(6, 20).repeat(2, 1, 1))
    start = ours.detach().clone()
    optimizer = Muon([{"params": [ours], "matrices": 1, "weight_decay": 0.1}], lr=0.01)
    reference = torch.optim.Muon([theirs], lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for _ in range(4):
        ours.grad = torch.randn(6, 20)
        theirs.grad = ours.grad.clone()
        optimizer.step()
        reference.step()
    assert (ours - theirs).norm() < 0.02 * (theirs - start).norm()


def test_four_gates_are_four_matrices():
    torch.manual_seed(0)
    stacked = nn.Parameter(torch.randn(12, 5))
    gates = [nn.Parameter(gate.clone()) for gate in stacked.detach().chunk(4)]
    optimizer = Muon([{"params": [stacked], "matrices": 4}, {"params": gates, "matrices": 1}], lr=0.1)
    for _ in range(3):
        stacked.grad = torch.randn(12, 5)
        for gate, gradient in zip(gates, stacked.grad.chunk(4), strict=True):
            gate.grad = gradient.clone()
        optimizer.step()
    torch.testing.assert_close(stacked.detach(), torch.cat([gate.detach() for gate in gates]))


def test_parameters_that_are_no_matrices_are_updated_by_adamw():
    torch.manual_seed(0)
    matrix, vector = nn.Parameter(torch.randn(3, 4)), nn.Parameter(torch.randn(7))
    twin = nn.Parameter(vector.detach().clone())
    optimizer = Muon([{"params": [matrix], "matrices": 1}, {"params": [vector], "weight_decay": 0.2}], lr=0.01)
    reference = torch.optim.AdamW([twin], lr=0.01, weight_decay=0.2)
    for _ in range(3):
        matrix.grad, vector.grad = torch.randn(3, 4), torch.randn(7)
        twin.grad = vector.grad.clone()
        optimizer.step()
        reference.step()
        assert torch.equal(vector, twin)
    assert optimizer.step(lambda: 2.5) == 2.5


@pytest.mark.parametrize("shape, matrices", [((4,), 1), ((2, 3, 4), 1), ((6, 4), 4)])
def test_a_parameter_that_does_not_split_into_its_matrices_is_refused(shape, matrices):
    with pytest.raises(ValueError, match=rf"shape \({shape[0]}.*\) is not {matrices} matrices"):
        Muon([{"params": [nn.Parameter(torch.zeros(shape))], "matrices": matrices}], lr=0.1)


def test_another_optimizer_is_refused():
    with pytest.raises(ValueError, match="optimizer must be one of adamw, muon, got 'sgd'"):
        replace(RECIPE, optimizer="sgd")


@pytest.mark.parametrize("name", tiny_stacks.CAUSAL)
def test_muon_takes_the_matrices_of_the_body_and_adamw_all_others(name):
    check_groups(LMUForCausalLM(tiny_stacks.tiny(**tiny_stacks.CAUSAL[name])))


@pytest.mark.parametrize("name", tiny_translators.KINDS)
def test_muon_takes_the_matrices_of_both_stacks(name):
    check_groups(LMUForConditionalGeneration(tiny_translators.tiny(**tiny_translators.KINDS[name])))


def check_groups(model) -> None:
    optimizer = make_optimizer(model, Recipe("tiny", "text", {}, optimizer="muon", weight_decay=0.1))
    kinds = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    learnt = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(kinds) == len(learnt)
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    for name, p in learnt.items():
        group = kinds[id(p)]
        adamw = p.ndim < 2 or id(p) in embeddings or name.startswith("lm_head")
        assert group["matrices"] == (0 if adamw else 4 if "lstm" in name else 1), name
        assert group["weight_decay"] == (0.0 if p.ndim < 2 or id(p) in embeddings else 0.1), name


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(
    "model",
    [
        LMUForCausalLM(tiny_stacks.tiny(num_hidden_layers=3, theta=[2, 4, 8], ngrams={"sizes": [2]})),
        LMUForConditionalGeneration(tiny_translators.tiny(num_hidden_layers=3, theta=[2, 4, 8])),
    ],
    ids=["one stack", "two stacks"],
)
def test_layer_decay_lowers_the_rate_of_deeper_blocks(model, optimizer):
    recipe = Recipe("tiny", "text", {}, optimizer=optimizer, learning_rate=0.01, weight_decay=0.1)
    even, slower = (make_optimizer(model, replace(recipe, layer_decay=decay)) for decay in (1.0, 0.5))
    assert {group["lr"] for group in even.param_groups} == {0.01}
    assert of_each_parameter(slower, "weight_decay") == of_each_parameter(even, "weight_decay")
    rates = of_each_parameter(slower, "lr")
    for name, p in model.named_parameters():
        block = re.search(r"layers\.(\d)\.", name)
        enters = "embed_tokens" in name or "ngrams" in name
        depth = 3 - int(block[1]) if block else 4 if enters else 0
        assert rates[id(p)] == 0.01 * 0.5**depth, name


def of_each_parameter(optimizer, field: str) -> dict[int, float]:
    return {id(p): group[field] for group in optimizer.param_groups for p in group["params"]}


@pytest.mark.parametrize("recipe", [MUON, replace(MUON, layer_decay=0.5)], ids=["even", "slower below"])
def test_a_run_with_muon_is_resumed_bit_for_bit(tmp_path, recipe):
    run(tmp_path / "whole", recipe, checkpointing_steps=3, checkpoints=99)
    for checkpoint in sorted((tmp_path / "whole" / "checkpoints").iterdir()):
        again = tmp_path / f"again-{checkpoint.name}"
        run(again, recipe, resume=checkpoint)
        assert_same_run(tmp_path / "whole", again)


@pytest.mark.slow
def test_a_run_with_muon_that_is_sharded_is_the_replicated_one(tmp_path):
    for name, launcher in (("sharded", FSDP), ("replicated", TORCHRUN)):
        finish(launch_two("muon", tmp_path / name, launcher=launcher))
        assert RunRecord.read(tmp_path / name).processes == 2
    for one, other in zip(curve(tmp_path / "sharded"), curve(tmp_path / "replicated"), strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], rel=1e-6)
