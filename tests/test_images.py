"""Folders of somebody's own pictures: how they are found, read and refused, the recipe they make, and a whole run."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from transformers import pipeline

from lmu_hf import LMUConfig, LMUForImageClassification
from lmu_hf.common.errors import InputError
from lmu_hf.common.record import RunRecord
from lmu_hf.data.images import LabelledImages, find_pictures, labelled_images, read_picture
from lmu_hf.hub.card import Shown, render
from lmu_hf.training.recipes.own import explain
from lmu_hf.training.recipes.own_images import LARGEST_ORDER, recipe_for_images
from lmu_hf.training.tasks.image_folders import ImageFolderTask, own_image_folder
from lmu_hf_cli import run as run_verb

pytestmark = pytest.mark.usefixtures("cache")
SIDES = ("left", "right", "top")


def picture(kind: str, noise: int, size: tuple[int, int] = (10, 8), mode: str = "L") -> Image.Image:
    """A picture that is bright on one side."""
    pixels = np.random.default_rng(noise).integers(0, 60, (size[1], size[0], 3))
    part = {"left": np.s_[:, : size[0] // 2], "right": np.s_[:, size[0] // 2 :], "top": np.s_[: size[1] // 2]}[kind]
    pixels[part] += 120
    image = Image.fromarray(pixels.astype(np.uint8))
    return image if mode == "RGB" else image.convert("L").convert(mode)


def write_folder(folder: Path, count: int = 12, first: int = 0, mode: str = "L") -> Path:
    for number, kind in enumerate(SIDES):
        (folder / kind).mkdir(parents=True)
        for row in range(count):
            picture(kind, first + 1000 * number + row, mode=mode).save(folder / kind / f"{row}.png")
    return folder


def images(count: int = 40, side: int = 8, colour: bool = False) -> LabelledImages:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 3 if colour else 1, side, side)).astype(np.uint8)
    splits = {"train": pixels, "validation": pixels[:9], "test": pixels[:7]}
    classes = {split: np.arange(len(part)) % 2 for split, part in splits.items()}
    origin = {split: split for split in splits}
    return LabelledImages("made up", splits, classes, ["a", "b"], origin, colour, {"colour": "made up"})


def test_few_validation_pictures_are_warned_of():
    assert (
        ImageFolderTask(images())
        .announce()
        .endswith(
            "\nwarning: only 9 validation pictures, which score and choose by little more than chance: "
            "give 20 or more in validation/"
        )
    )


# --------------------------------------------------------------------------- what is in a folder


def test_a_folder_is_of_classes_or_of_splits_of_classes(tmp_path):
    flat = write_folder(tmp_path / "flat", 2)
    (flat / ".hidden").write_text("x")
    (flat / "left" / "Thumbs.db").write_text("x")
    (flat / "left" / "2020").mkdir()
    picture("left", 5).save(flat / "left" / "2020" / "deep.png")
    found = find_pictures(flat)
    assert found.keys() == {"train"} and {name: len(files) for name, files in found["train"].items()} == {
        **{"left": 3, "right": 2, "top": 2}
    }
    for name in ("train", "val", "test"):
        write_folder(tmp_path / "split" / name, 2)
    assert find_pictures(tmp_path / "split").keys() == {"train", "validation", "test"}


def test_a_class_may_be_called_train(tmp_path):
    for name in ("car", "plane", "train"):
        (tmp_path / name).mkdir()
        picture("left", 0).save(tmp_path / name / "1.png")
    assert find_pictures(tmp_path)["train"].keys() == {"car", "plane", "train"}


def test_a_tenth_of_each_class_is_held_out_and_the_same_one_every_time(tmp_path):
    folder = write_folder(tmp_path / "flat", 20)
    rows, again = labelled_images(folder), labelled_images(folder)
    assert np.bincount(rows.classes["validation"]).tolist() == [2, 2, 2] and rows.held_out
    assert len(rows.images["train"]) == 54 and "test" not in rows.images
    assert all((rows.images[split] == again.images[split]).all() for split in rows.images)
    split = tmp_path / "split"
    write_folder(split / "train", 12)
    write_folder(split / "validation", 3, first=50)
    rows = labelled_images(split)
    assert len(rows.images["train"]) == 36 and len(rows.images["validation"]) == 9 and not rows.held_out


def test_size_and_colour_follow_from_the_pictures_and_flags_override_them(tmp_path):
    grey = labelled_images(write_folder(tmp_path / "grey"))
    assert grey.images["train"].shape[1:] == (1, 8, 8) and not grey.colour
    assert "10 × 8 pixels" in grey.reasons["image_size"] and "no picture has colour" in grey.reasons["colour"]
    folder = write_folder(tmp_path / "colour", mode="RGB")
    picture("left", 1, size=(90, 40), mode="RGB").save(folder / "left" / "0.png")
    colour = labelled_images(folder)
    assert colour.images["train"].shape[1:] == (3, 8, 8) and colour.colour
    assert "10 to 90 × 8 to 40" in colour.reasons["image_size"]
    asked = labelled_images(folder, image_size=5, colour=False)
    assert asked.images["train"].shape[1:] == (3, 5, 5) and not asked.colour and not asked.reasons
    large = write_folder(tmp_path / "large")
    for path in large.rglob("*.png"):
        picture("left", 1, size=(70, 50)).save(path)
    assert labelled_images(large).side == 32


def test_modes_are_read_as_the_pipeline_reads_them(tmp_path):
    for mode, suffix in (("1", "png"), ("P", "png"), ("LA", "png"), ("RGBA", "png"), ("CMYK", "jpg"), ("RGB", "webp")):
        image = picture("left", 3, mode="RGB").convert(mode)
        image.save(tmp_path / f"{mode}.{suffix}")
        pixels, said = read_picture(tmp_path / f"{mode}.{suffix}", 8)
        opened = np.asarray(Image.open(tmp_path / f"{mode}.{suffix}").convert("RGB").resize((8, 8), 2))
        assert (pixels == opened.transpose(2, 0, 1)).all()
        assert bool(said) == (mode in ("LA", "RGBA"))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    picture("top", 3).save(tmp_path / "turned.png", exif=exif)
    turned, _ = read_picture(tmp_path / "turned.png", 8)
    assert turned[0, :, 5:].mean() > 2 * turned[0, :, :3].mean()


def damage(folder: Path, what: str) -> None:
    spoilt = folder / "left" / "bad.png"
    if what == "no picture":
        spoilt.write_text("some words")
    elif what == "cut":
        whole = folder / "left" / "0.png"
        spoilt.write_bytes(whole.read_bytes()[:90])
    elif what == "moves":
        frames = [picture("left", at) for at in range(3)]
        frames[0].save(folder / "left" / "bad.gif", save_all=True, append_images=frames[1:])
    elif what == "16 bits":
        Image.fromarray(np.full((8, 8), 4000, np.uint16)).save(spoilt)
    elif what == "floats":
        Image.fromarray(np.zeros((8, 8), np.float32)).save(folder / "left" / "bad.tif")
    elif what == "empty class":
        (folder / "bottom").mkdir()
    elif what == "loose file":
        picture("left", 0).save(folder / "loose.png")


@pytest.mark.parametrize(
    "what, message",
    [
        ("no picture", "left/bad.png is no picture that Pillow can read: delete it"),
        ("cut", "left/bad.png cannot be used as a picture: "),
        ("moves", "left/bad.gif cannot be used as a picture: it has 3 frames: save the one"),
        ("16 bits", "left/bad.png cannot be used as a picture: its mode is I;16, more than 8 bits"),
        ("floats", "left/bad.tif cannot be used as a picture: its mode is F, more than 8 bits"),
        ("empty class", "bottom holds no picture: fill it, or delete it"),
        ("loose file", "loose.png lies beside the folders of the classes"),
    ],
)
def test_what_is_no_picture_that_will_do_is_named(what, message, tmp_path):
    folder = write_folder(tmp_path / "pictures")
    damage(folder, what)
    with pytest.raises(InputError, match=re.escape(message)) as told:
        labelled_images(folder)
    assert "\n" not in str(told.value)


def test_a_folder_that_is_laid_out_otherwise_is_refused_in_one_line(tmp_path):
    def refusal(*names: str) -> str:
        folder = tmp_path / "-".join(["in", *(name.replace("/", "_") for name in names)])
        folder.mkdir()
        for name in names:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            picture("left", 0).save(path)
        with pytest.raises(InputError) as told:
            labelled_images(folder)
        assert "\n" not in str(told.value)
        return str(told.value)

    assert "holds nothing: it must hold a folder for each class" in refusal()
    assert "holds files and no folder" in refusal("1.png")
    assert "holds one class, 'cat', and a classifier needs two" in refusal("cat/1.png")
    assert "holds one class, 'all': give --data_dir" in refusal("all/cat/1.png", "all/dog/1.png")
    assert "has test and no folder train/ to learn from" in refusal("test/cat/1.png", "test/dog/1.png")
    assert "test has the class 'cow', and there is to train on cat, dog" in refusal(
        *("train/cat/1.png", "train/dog/1.png", "test/cow/1.png")
    )
    assert "and more, which is none: move it away" in refusal("train/cat/1.png", "more/cat/1.png")
    assert "two of them are one split" in refusal("train/cat/1.png", "val/cat/1.png", "dev/cat/1.png")
    assert "2 training rows are too few to hold out a tenth" in refusal("cat/1.png", "dog/1.png")


def test_pictures_that_are_in_two_splits_are_told(tmp_path):
    write_folder(tmp_path / "train")
    write_folder(tmp_path / "test", 2)
    assert "6 of the test pictures are training pictures, too" in labelled_images(tmp_path).notes


# --------------------------------------------------------------------------- the task and its recipe


@given(count=st.integers(2, 10**6), side=st.integers(1, 200), colour=st.booleans(), minutes=st.floats(0.1, 1000))
def test_any_pictures_make_a_recipe_that_says_why(count, side, colour, minutes):
    rows = images(2, 1, colour)
    broadcast = np.broadcast_to(np.uint8(0), (1, 3, side, side))
    rows.images.update(dict.fromkeys(rows.images, broadcast))
    rows.classes["train"] = np.zeros(count, int)
    made = recipe_for_images(rows, minutes)
    fields = made.recipe.architecture
    assert fields["theta"] == side**2 and 1 <= fields["order"] <= LARGEST_ORDER
    LMUConfig(input_size=3 if colour else 1, image_size=side, **fields)
    assert made.recipe.epochs >= 1 and all(made.reasons.values())
    told = {**fields, **made.recipe.data, **made.recipe.hyperparameters()}
    assert made.reasons.keys() <= told.keys()
    assert explain(made.recipe, made.reasons).count("\n") == len(made.reasons)


def test_a_grey_model_reads_the_mean_of_colours_as_in_its_pipeline():
    task = ImageFolderTask(LabelledImages(**{**vars(images(colour=True)), "colour": False}))
    assert task.config_fields()["input_size"] == 1
    rows = task.splits["train"].images[:3]
    (read,) = (task.inputs((rows, rows))["pixel_values"],)
    pictures = [Image.fromarray(row.permute(1, 2, 0).numpy()) for row in rows]
    theirs = task.processor()(pictures, return_tensors="pt")["pixel_values"].mean(1, keepdim=True)
    torch.testing.assert_close(read, theirs, rtol=1e-5, atol=1e-5)


def test_the_processor_gives_what_training_reads_of_any_mode_and_size(tmp_path):
    for name, mode in (("grey", "P"), ("colour", "RGB")):
        folder = write_folder(tmp_path / name, mode=mode)
        task = own_image_folder(folder)
        path = sorted((folder / "left").iterdir())[0]
        pixels = read_picture(path, task.image_size)[0].copy()
        row = torch.from_numpy(pixels[None] if name == "colour" else pixels[None, :1])
        theirs = task.processor()(Image.open(path), return_tensors="pt")["pixel_values"]
        ours = task.inputs((row, row))["pixel_values"].expand(theirs.shape)
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_deformations_bring_in_the_colour_of_the_borders():
    rows = images()
    rows.images.update({split: np.full_like(part, 200) for split, part in rows.images.items()})
    task = ImageFolderTask(rows, recipe_for_images(rows).recipe.augmentation, scale=(0.0, 1.0))
    batch = task.splits["train"][0:4]
    deformed = task.inputs(batch, torch.Generator().manual_seed(0))["pixel_values"]
    torch.testing.assert_close(deformed, torch.full_like(deformed, 200 / 255), rtol=0, atol=1e-6)


def test_the_lines_are_the_majority_and_a_linear_model_of_pixels():
    rows = images(60)
    for split, part in rows.images.items():
        part[rows.classes[split] == 1, :, :4] //= 4  # so that a class shows in its pixels
    lines = ImageFolderTask(rows).lines(("validation", "test"))
    assert lines["majority"]["validation"]["accuracy"] == pytest.approx(5 / 9)
    assert lines["logistic regression on pixels"]["test"] == {"accuracy": 1.0, "macro_f1": 1.0}


# --------------------------------------------------------------------------- a run


SHORT = ["--num_train_epochs", "15", "--quiet", "--report_to", "none", "--output_dir", "run"]


def verb(name: str, *words: str):
    return run_verb(name, argv=list(map(str, words)))


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder with pictures, a run on them, and what it said."""
    folder = tmp_path_factory.mktemp("images")
    write_folder(folder / "pictures" / "train", 20)
    write_folder(folder / "pictures" / "test", 5, first=500)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        verb("train image", "--data_dir", "pictures", *SHORT)
    return folder


def test_a_run_learns_its_pictures_and_says_what_they_decide(trained):
    record = RunRecord.read(trained / "run")
    assert record.recipe == "own-images" and record.title == "pictures" and record.problem_type
    assert record.metrics["test"]["accuracy"] > 0.9
    assert record.lines["majority"]["test"]["accuracy"] == pytest.approx(1 / 3)
    assert record.details["test"]["classes"].keys() == set(SIDES)
    assert record.data["splits"]["validation"].startswith("a tenth of train")
    assert record.architecture["image_size"] == 8 and "permutation_seed" not in record.architecture
    card = str(render(Shown(record), "lmu-pictures"))
    assert "reads a grey image of 8 × 8 pixels" in card and "logistic regression on pixels" in card


def test_the_saved_model_is_loaded_by_the_pipeline(trained):
    find = pipeline("image-classification", model=str(trained / "run" / "model"))
    found = [find(str(path))[0]["label"] for path in sorted((trained / "pictures" / "test").rglob("*.png"))]
    right = np.mean(np.array(found) == np.repeat(SIDES, 5))
    assert right == RunRecord.read(trained / "run").metrics["test"]["accuracy"]


def test_a_run_is_scored_on_its_own_pictures_or_on_others(trained, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    run = trained / "run"
    assert verb("evaluate", run, "--json") == RunRecord.read(run).metrics["test"]
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["data"]["fingerprint"] == RunRecord.read(run).data["fingerprint"]
    others = write_folder(tmp_path / "others" / "test", 4, first=900)
    assert verb("evaluate", run, "--data_dir", tmp_path / "others")["accuracy"] > 0.9
    for words, message in (
        (["--data_dir", others], "has no split 'test'; it has train, validation"),
        (["--data_dir", others, "--image_size", "9"], "--image_size has no effect on own-images"),
    ):
        with pytest.raises(SystemExit, match=message):
            verb("evaluate", run, *words)
    (others / "left").rename(others / "bottom")
    with pytest.raises(SystemExit, match="test has the class 'bottom', and the model knows left, right, top"):
        verb("evaluate", run, "--data_dir", tmp_path / "others")


def test_pictures_without_classes_are_labelled(trained, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    counts = verb("label", trained / "run", "--data_dir", trained / "pictures" / "test", "--output_file", "a.jsonl")
    rows = [json.loads(line) for line in Path("a.jsonl").read_text(encoding="utf-8").splitlines()]
    assert sum(counts.values()) == len(rows) == 15
    assert {"image", "label", "probability", "score_left", "score_right", "score_top"} == rows[0].keys()
    right = np.mean([row["label"] == row["image"].split("/")[0] for row in rows])
    assert right == RunRecord.read(trained / "run").metrics["test"]["accuracy"]
    (tmp_path / "none").mkdir()
    with pytest.raises(SystemExit, match="none holds no picture"):
        verb("label", trained / "run", "--data_dir", tmp_path / "none")


def test_a_run_in_colour_reads_pixels_in_a_random_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "pictures", 12, mode="RGB")
    more = ["--permutation_seed", "3", "--no_augmentation", "--image_size", "6"]
    record = verb("train image", "--data_dir", "pictures", *more, *SHORT)
    assert record.architecture["permutation_seed"] == 3 and record.architecture["input_size"] == 3
    assert record.hyperparameters["augmentation"] is None and record.architecture["image_size"] == 6
    assert verb("evaluate", "run", "--split", "validation") == record.metrics["validation"]
    model = LMUForImageClassification.from_pretrained("run/model")
    assert model.pixel_sequence(torch.rand(1, 3, 6, 6)).shape == (1, 36, 3)
    assert pipeline("image-classification", model="run/model")("pictures/left/1.png")
    card = str(render(Shown(record), "lmu-pictures"))
    assert "an image in colour of 6 × 6 pixels" in card and "torch.rand(1, 3, side, side)" in card
    with pytest.raises(SystemExit):
        verb("train image", "--data_dir", "pictures", "--colour", "--grey")


def test_the_baseline_of_pictures_is_an_lstm_on_the_same_pixels(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "pictures", 10)
    short = ["--max_train_steps", "2", "--quiet", "--report_to", "none"]
    record = verb("train image", "--data_dir", "pictures", "--baseline", "lstm", *short)
    assert record.baseline == "lstm" and record.baseline_of == "own-images"
    assert record.head == "LSTMForImageClassification" and Path("runs/pictures-lstm-seed0/run.json").is_file()
