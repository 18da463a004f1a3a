"""The workshop: deformations, data, recipes, the loop and what it writes down."""

import json
import math
from dataclasses import replace

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageClassification, set_seed

import lmu_hf  # noqa: F401
from lmu_hf.common.record import MetricsLog, RunRecord, count_parameters
from lmu_hf.data.augmentation import Augmentation
from lmu_hf.training.learner import Learner
from lmu_hf.training.loop import train
from lmu_hf.training.recipes import Recipe, get_recipe
from lmu_hf.training.tasks.images import ImageRows, ImageTask, digits, mnist

PARAMETER_LIMITS = {
    "psmnist": 166_092,
    "psmnist-plain": 166_092,
    "smnist-wide": 1_400_000,
    "digits": 10_000,
}


@pytest.fixture(scope="module")
def task() -> ImageTask:
    return digits()


def small(recipe: Recipe, **changes) -> Recipe:
    return replace(recipe, **{"epochs": 2, "batch_size": 256, **changes})


def fresh_model(recipe: Recipe, task: ImageTask, seed: int = 0):
    set_seed(seed)
    return task.make_model(recipe.architecture)


# --------------------------------------------------------------------------- deformations


def test_an_augmentation_of_nothing_changes_nothing():
    still = Augmentation(rotation=0, scale=0, shear=0, shift=0, elastic=0)
    images = torch.rand(3, 1, 28, 28)
    torch.testing.assert_close(still(images, torch.Generator()), images, atol=1e-5, rtol=0)


def test_an_augmentation_is_decided_by_its_generator():
    images = torch.rand(4, 1, 28, 28)
    first, again, other = (Augmentation()(images, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_rotation_turns_about_the_middle_and_a_shift_moves_the_ink():
    dot = torch.zeros(64, 1, 29, 29)
    dot[:, :, 14, 14] = 1
    turned = Augmentation(rotation=45, scale=0, shear=0, shift=0, elastic=0)(dot, torch.Generator().manual_seed(0))
    torch.testing.assert_close(turned[:, 0, 14, 14], torch.ones(64), atol=1e-4, rtol=0)
    moved = Augmentation(rotation=0, scale=0, shear=0, shift=3, elastic=0)(dot, torch.Generator().manual_seed(0))
    rows = (moved.sum((1, 3)) * torch.arange(29)).sum(1) - 14
    assert rows.abs().max() <= 3.001
    assert rows.std() > 1


# --------------------------------------------------------------------------- data


def test_digits_are_split_once_and_share_classes_evenly(task):
    assert [len(task.splits[name]) for name in ("train", "validation", "test")] == [1197, 300, 300]
    for rows in task.splits.values():
        counts = rows.labels.bincount(minlength=10) / len(rows)
        assert (counts - 0.1).abs().max() < 0.01
    assert digits().describe() == task.describe()
    assert digits(seed=1).describe()["fingerprint"] != task.describe()["fingerprint"]


def test_the_model_sees_standardised_pixels_that_the_processor_makes_too(task):
    rows = task.splits["train"]
    pixels = task.inputs((rows.images, rows.labels))["pixel_values"]
    assert pixels.shape == (1197, 1, 8, 8)
    assert abs(pixels.mean()) < 1e-3
    assert abs(pixels.std() - 1) < 1e-3
    processed = task.processor()(Image.fromarray(rows.images[0].numpy()), return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(processed[0], pixels[0], atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def tiny_mnist(tmp_path_factory):
    """A folder laid out like MNIST on the Hub, with 60 training and 20 test images drawn at random."""
    folder = tmp_path_factory.mktemp("data") / "ylecun" / "mnist"
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(num_classes=10)})
    for split, rows in (("train", 60), ("test", 20)):
        generator = np.random.default_rng(rows)
        images = [Image.fromarray(generator.integers(0, 256, (28, 28), dtype=np.uint8)) for _ in range(rows)]
        table = datasets.Dataset.from_dict({"image": images, "label": [i % 10 for i in range(rows)]}, features=features)
        (folder / "mnist").mkdir(parents=True, exist_ok=True)
        table.to_parquet(folder / "mnist" / f"{split}-00000-of-00001.parquet")
    return folder


def test_mnist_holds_out_the_last_training_rows(tiny_mnist):
    task = mnist("ylecun/mnist", tiny_mnist.parents[1], validation_rows=10)
    assert {name: len(rows) for name, rows in task.splits.items()} == {"train": 50, "validation": 10, "test": 20}
    expected = np.random.default_rng(20).integers(0, 256, (28, 28), dtype=np.uint8)
    assert np.array_equal(task.splits["test"].images[0].numpy(), expected)
    assert task.splits["validation"].labels.tolist() == [i % 10 for i in range(50, 60)]


def test_unusable_data_is_refused_by_name(tiny_mnist, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        mnist("nowhere", tmp_path)
    with pytest.raises(ValueError, match="60 training rows"):
        mnist("ylecun/mnist", tiny_mnist.parents[1])
    datasets.Dataset.from_dict({"pixels": [1]}).to_parquet(tmp_path / "train.parquet")
    with pytest.raises(ValueError, match="a column 'image' in 'train'"):
        mnist(tmp_path.name, tmp_path.parent)
    with pytest.raises(ValueError, match="at least one"):
        ImageRows(np.zeros((0, 8, 8), np.uint8), np.zeros(0))


# --------------------------------------------------------------------------- recipes


def test_an_unknown_recipe_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"psmnits.*digits.*psmnist"):
        get_recipe("psmnits")


@pytest.mark.parametrize("name", sorted(PARAMETER_LIMITS))
def test_every_recipe_keeps_its_size_and_takes_two_steps(name, tmp_path):
    recipe = get_recipe(name)
    side = 8 if name == "digits" else 28
    generator = np.random.default_rng(0)
    rows = ImageRows(generator.integers(0, 256, (40, side, side), dtype=np.uint8), np.arange(40) % 10)
    task = ImageTask(
        "noise", {"train": rows, "validation": rows, "test": rows}, list("0123456789"), 0.5, 0.3, recipe.augmentation
    )
    model = fresh_model(recipe, task)
    before = model.state_dict()["classifier.out.weight"].clone()
    assert model.num_parameters() <= PARAMETER_LIMITS[name]
    record = train(model, replace(recipe, epochs=1, batch_size=20), task, 0, tmp_path, quiet=True)
    assert record.steps == 2
    assert not torch.equal(model.state_dict()["classifier.out.weight"], before)


def test_the_papers_architecture_has_the_papers_size():
    rows = ImageRows(np.zeros((1, 28, 28), np.uint8), np.zeros(1))
    task = ImageTask("blank", {"train": rows}, list("0123456789"), mean=0.0, std=1.0)
    model = task.make_model(get_recipe("psmnist").architecture)
    assert model.num_parameters() == 166_092


# --------------------------------------------------------------------------- the loop


def test_a_run_leaves_a_complete_folder(task, tmp_path):
    recipe = small(get_recipe("digits"), epochs=3)
    model = fresh_model(recipe, task)
    record = train(model, recipe, task, seed=0, output_dir=tmp_path, quiet=True)
    assert RunRecord.read(tmp_path) == record
    rows = MetricsLog.read(tmp_path)
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    scores = [row["validation_accuracy"] for row in rows]
    (best,) = (row for row in rows if row["step"] == record.best_step)
    assert record.metrics["validation"]["accuracy"] == max(scores) == best["validation_accuracy"]
    assert record.best_epoch == best["epoch"]
    assert record.parameters == count_parameters(model)
    assert record.steps == 3 * math.ceil(1197 / 256)
    saved = AutoModelForImageClassification.from_pretrained(tmp_path / "model").state_dict()
    assert all(torch.equal(saved[name], value) for name, value in model.state_dict().items())


def test_the_test_score_is_that_of_the_saved_weights(task, tmp_path):
    recipe = small(get_recipe("digits"))
    record = train(fresh_model(recipe, task), recipe, task, seed=0, output_dir=tmp_path, quiet=True)
    saved = AutoModelForImageClassification.from_pretrained(tmp_path / "model").eval()
    rows = task.splits["test"]
    with torch.no_grad():
        predicted = saved(task.inputs((rows.images, rows.labels))["pixel_values"]).logits.argmax(-1)
    assert record.metrics["test"]["accuracy"] == (predicted == rows.labels).double().mean().item()


class Unreadable(ImageRows):
    def __getitems__(self, indices):
        raise AssertionError("the test split was read")


def test_the_test_split_is_not_read_unless_asked(task, tmp_path):
    rows = task.splits["test"]
    sealed = Unreadable(rows.images.numpy(), rows.labels.numpy())
    hidden = replace(task, splits={**task.splits, "test": sealed})
    recipe = small(get_recipe("digits"), epochs=1)
    record = train(fresh_model(recipe, task), recipe, hidden, 0, tmp_path / "a", quiet=True, read_test=False)
    assert set(record.metrics) == {"validation"}
    with pytest.raises(AssertionError, match="was read"):
        train(fresh_model(recipe, task), recipe, hidden, 0, tmp_path / "b", quiet=True)


def test_a_seed_decides_a_run(task, tmp_path):
    recipe = small(get_recipe("digits"))
    weights = []
    for number, seed in enumerate((0, 0, 1)):
        model = fresh_model(recipe, task)
        train(model, recipe, task, seed, tmp_path / str(number), quiet=True)
        weights.append(model.state_dict()["classifier.out.weight"])
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_run_that_diverges_says_so_and_leaves_no_record(task, tmp_path):
    recipe = small(get_recipe("digits"), learning_rate=1e30)
    with pytest.raises(FloatingPointError, match=r"has diverged: after step .*--learning_rate below 1e\+30"):
        train(fresh_model(recipe, task), recipe, task, seed=0, output_dir=tmp_path, quiet=True)
    with pytest.raises(FileNotFoundError, match="has not finished"):
        RunRecord.read(tmp_path)


def test_a_finished_run_is_only_overwritten_when_asked_and_then_leaves_no_record(task, tmp_path):
    recipe = small(get_recipe("digits"), epochs=1)
    record = train(fresh_model(recipe, task), recipe, task, seed=0, output_dir=tmp_path, quiet=True)
    diverging = replace(recipe, learning_rate=1e30)
    with pytest.raises(FileExistsError, match="holds an earlier run"):
        train(fresh_model(recipe, task), diverging, task, seed=0, output_dir=tmp_path, quiet=True)
    assert RunRecord.read(tmp_path) == record
    with pytest.raises(FloatingPointError):
        train(fresh_model(recipe, task), diverging, task, seed=0, output_dir=tmp_path, quiet=True, overwrite=True)
    with pytest.raises(FileNotFoundError, match="has not finished"):
        RunRecord.read(tmp_path)


def test_the_average_of_weights_starts_short_and_grows_long(task, tmp_path):
    recipe = small(get_recipe("digits"), epochs=2)
    recipe = replace(recipe, averaging=0.999)
    seen, update = [], Learner.update

    def noted(learner):
        update(learner)
        seen.append(([p.clone() for p in learner.parameters], [p.clone() for p in learner.average]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Learner, "update", noted)
        train(fresh_model(recipe, task), recipe, task, seed=0, output_dir=tmp_path, quiet=True)
    expected = [p.double() for p in seen[0][0]]
    for step, (weights, average) in enumerate(seen[1:], 2):
        decay = min(0.999, (1 + step) / (10 + step))
        expected = [decay * mean + (1 - decay) * p.double() for mean, p in zip(expected, weights, strict=True)]
        for mean, p in zip(expected, average, strict=True):
            torch.testing.assert_close(p.double(), mean, atol=1e-5, rtol=1e-4)


# --------------------------------------------------------------------------- records


def test_a_file_that_is_no_record_is_refused(tmp_path):
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(ValueError, match="not a run record"):
        RunRecord.read(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps({"recipe": "x"}))
    with pytest.raises(ValueError, match="missing"):
        RunRecord.read(tmp_path)
