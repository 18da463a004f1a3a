"""The steps of the demo, which demo.py takes once its flags are read."""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import torch
from sklearn.datasets import load_sample_image
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from transformers import AutoModelForImageClassification, DynamicCache, set_seed

from lmu_hf import LegendreSystem, LMUConfig, LMUForImageClassification, LMULayer
from lmu_hf.common.figures import learning_curve, memory_window
from lmu_hf.hub.folder import files_of
from lmu_hf.training.loop import train
from lmu_hf.training.recipes import get_recipe
from lmu_hf.training.tasks.images import ImageTask, digits

# Runs in a process of its own, which knows nothing but the folder.
RELOAD = """
import json, sys
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification, pipeline
from transformers.utils import logging
import lmu_hf
logging.disable_progress_bar()
folder, picture = sys.argv[1:]  # the folder may be a name on the Hub
model = AutoModelForImageClassification.from_pretrained(folder)
inputs = AutoImageProcessor.from_pretrained(folder)(Image.open(picture), return_tensors="pt")
with torch.no_grad():
    logits = model(**inputs).logits[0]
best = pipeline("image-classification", model=folder)(picture, top_k=1)[0]
print(json.dumps({"class": type(model).__name__, "logits": logits.tolist(), **best}))
"""


def baseline_accuracies(task: ImageTask) -> dict[str, float]:
    """Test accuracy of always answering the commonest class, and of logistic regression on the pixels."""
    x = {name: rows.images.flatten(1).numpy() for name, rows in task.splits.items()}
    y = {name: rows.labels.numpy() for name, rows in task.splits.items()}
    regression = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    return {
        "majority class": DummyClassifier().fit(x["train"], y["train"]).score(x["test"], y["test"]),
        "logistic regression": regression.fit(x["train"], y["train"]).score(x["test"], y["test"]),
    }


def fresh_process(*words: object, environment: dict[str, str] | None = None) -> str:
    """The last line that a fresh process of Python prints."""
    done = subprocess.run(
        [sys.executable, *map(str, words)], capture_output=True, text=True, check=False, env=environment
    )
    if done.returncode:
        raise RuntimeError(f"a fresh process failed:\n{done.stderr}")
    return done.stdout.splitlines()[-1]


def reload_elsewhere(model: Path | str, picture: Path, environment: dict[str, str] | None = None) -> dict:
    """What a fresh process sees, that has only a folder (or a name on the Hub) and a picture."""
    return json.loads(fresh_process("-c", RELOAD, model, picture, environment=environment))


def show_reload(folder: Path, picture: Path, task: ImageTask, logits: torch.Tensor) -> None:
    """Write the first test digit as a picture, and load the model in a fresh process, which reads it."""
    from PIL import Image

    test = task.splits["test"]
    picture.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(test.images[0].numpy()).save(picture)
    seen = reload_elsewhere(folder, picture)
    difference = (torch.tensor(seen["logits"]) - logits).abs().max()
    print(f"   {seen['class']} from {folder}: its logits for a picture file differ by {difference:.1e}")
    answer = f"{seen['label']} with score {seen['score']:.3f}; truth {int(test.labels[0])}"
    print(f"   pipeline('image-classification'): {answer}")


def show_hub(run: Path, picture: Path, logits: torch.Tensor, name: str = "demo/lmu-digits") -> None:
    """Push the run to a Hub on loopback with the same command as to the real one, and load it back by its name."""
    sys.path.append(str(Path(__file__).parents[1] / "tests"))  # the loopback Hub is a tool of the tests
    from loopback import LoopbackHub

    with LoopbackHub() as hub, TemporaryDirectory() as cache:
        environment = hub.environment(Path(cache), token=hub.token)
        script = Path(__file__).with_name("push_to_hub.py")
        commit = fresh_process(script, run, "--push", "--repo_id", name, environment=environment)
        print(f"   one commit of {len(files_of(run / 'hub'))} files: {commit}")
        seen = reload_elsewhere(name, picture, environment)
    difference = (torch.tensor(seen["logits"]) - logits).abs().max()
    print(f"   {seen['class']}.from_pretrained({name!r}) in a fresh process: its logits differ by {difference:.1e}")


@torch.no_grad()
def run_pixel_by_pixel(model: LMUForImageClassification, pixel_values: torch.Tensor) -> torch.Tensor:
    """The same weights as a recurrent network: one pixel in, one step of the memory, nothing else kept."""
    carried = DynamicCache(config=model.config)
    for pixel in model.pixel_sequence(pixel_values).split(1, dim=1):
        hidden = model.model(input_values=pixel, past_key_values=carried, use_cache=True).last_hidden_state
    return model.classifier(hidden[:, 0])


def training_seconds(
    model: LMUForImageClassification, inputs: dict[str, torch.Tensor], forms: tuple[str, ...]
) -> list[float]:
    """Of each form of the memory, the best of three forward and backward passes; the forms take turns."""
    memories = [module for module in model.modules() if isinstance(module, LMULayer)]
    times: dict[str, list[float]] = {form: [] for form in forms}
    for _ in range(4):
        for form in forms:
            for memory in memories:
                memory.memory_form = form
            start = time.perf_counter()
            model(**inputs).loss.backward()
            times[form].append(time.perf_counter() - start)
    return [min(times[form][1:]) for form in forms]


def show_speed(model: LMUForImageClassification, task: ImageTask, digit_inputs: dict[str, torch.Tensor]) -> None:
    """Print how much faster a training step is in parallel than step by step, here and at psMNIST's size."""
    fields = task.config_fields() | {"image_size": 28}
    large = AutoModelForImageClassification.from_config(LMUConfig(**fields, **get_recipe("psmnist").architecture))
    large_inputs = {"pixel_values": torch.rand(100, 1, 28, 28), "labels": torch.randint(10, (100,))}
    sizes = {"these digits, 64 steps": (model, digit_inputs), "psMNIST's size, 784 steps": (large, large_inputs)}
    for name, (network, inputs) in sizes.items():
        sequential, parallel = training_seconds(network, inputs, ("recurrent", "auto"))
        ratio = f"{sequential / parallel:.3g}x"
        print(f"   {name:<27} {1e3 * sequential:8.1f} ms  {1e3 * parallel:6.1f} ms   {ratio:>6} faster")


def photograph_line() -> torch.Tensor:
    """A real signal: the brightness along two rows of a photograph that comes with scikit-learn, smoothed."""
    line = torch.tensor(load_sample_image("china.jpg"), dtype=torch.float64).mean(-1)[200:202].reshape(1, 1, -1) / 255
    for _ in range(3):
        line = torch.nn.functional.avg_pool1d(line, 15, stride=1, padding=7, count_include_pad=False)
    return line[0, 0]


def show(args: argparse.Namespace) -> None:
    """The demo, from data to figures.

    Args:
        args: as ``demo.py`` parsed them.
    """
    recipe = get_recipe("digits", epochs=args.num_train_epochs)
    task = digits()
    task.augmentation = recipe.augmentation

    print("1. Train: 8x8 digits as 64 pixels in permuted order, one LMU layer, last state only")
    set_seed(0)
    model = cast(LMUForImageClassification, task.make_model(recipe.architecture))
    record = train(model, recipe, task, seed=0, output_dir=args.output_dir, quiet=args.quiet, overwrite=True)
    print(f"\n   {'test accuracy':<40}{'parameters':>10}")
    for name, accuracy in baseline_accuracies(task).items():
        print(f"   {name:<24}{100 * accuracy:>6.1f} %")
    print(f"   {'LMU':<24}{100 * record.metrics['test']['accuracy']:>6.1f} %{record.parameters['total']:>18,}")

    print("\n2. Save, and reload in a fresh process through the Auto classes and a pipeline")
    picture = args.output_dir / "figures" / "digit.png"
    inputs = task.inputs((task.splits["test"].images[:1], task.splits["test"].labels[:1]))
    model.eval()
    with torch.no_grad():
        parallel = model(pixel_values=inputs["pixel_values"]).logits
    show_reload(args.output_dir / "model", picture, task, parallel[0])

    print("\n3. The same weights as a recurrent network, one pixel at a time")
    stepped = run_pixel_by_pixel(model, inputs["pixel_values"])
    print(
        f"   largest difference between the logits, parallel and step by step: {(stepped - parallel).abs().max():.1e}"
    )

    print("\n4. A training step (forward and backward), step by step and in parallel")
    show_speed(model.train(), task, task.inputs((task.splits["train"].images[:100], task.splits["train"].labels[:100])))

    curve = learning_curve(args.output_dir, args.output_dir / "figures" / "learning_curve.png")
    window = memory_window(
        photograph_line(),
        LegendreSystem(order=64, theta=400),
        [450, 800, 1150],
        args.output_dir / "figures" / "memory_window.png",
    )

    print("\n5. Push the run to a Hub on loopback, as one commit, and load it back by name in a fresh process")
    show_hub(args.output_dir, picture, parallel[0])
    print(f"\nFigures: {curve}, {window}\nWhat a push sends, with its model card: {args.output_dir / 'hub'}")
