"""Labelled sounds: where labels and groups come from, which splits there are, and what is refused."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

from lmu_hf.cli.command import run_verb
from lmu_hf.common.record import RunRecord
from lmu_hf.data.audio import SoundSource, labelled_sounds, pattern_of, tones_and_chirps, with_noise, with_validation
from lmu_hf.data.batches import order_by_length
from lmu_hf.data.sound_augmentation import SoundAugmentation
from lmu_hf.data.tables import ReadOptions
from lmu_hf.frames_lmu import Frames, frames_of, power_spectra
from lmu_hf.training.recipes.audio import Heard, make_recipe
from lmu_hf.training.tasks.audio import AudioTask, fit_frames, summary_of

RATE = 2000


def write(path, hertz: float = 200.0, samples: int = 300, rate: int = RATE, channels: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tone = 0.5 * np.sin(2 * np.pi * hertz * np.arange(samples) / rate)
    soundfile.write(path, np.stack([tone] * channels, 1), rate)


@pytest.fixture
def speakers(tmp_path):
    """Two words by three speakers, five times each: low_ann_0.wav and so on."""
    for number, label in enumerate(("low", "high")):
        for who in ("ann", "ben", "cid"):
            for turn in range(5):
                write(tmp_path / "words" / f"{label}_{who}_{turn}.wav", 150 + 300 * number + 10 * turn)
    return tmp_path / "words"


BY_SPEAKER = SoundSource(pattern="{label}_{group}_*")


def test_a_label_is_what_stands_before_the_first_underscore(speakers):
    sounds = labelled_sounds({"train": speakers})
    assert sounds.labels == ["high", "low"] and sounds.rate == RATE and sounds.title == "words"
    assert [len(sounds.signals[split]) for split in ("train", "validation")] == [27, 3]
    assert "test" not in sounds.signals


def test_a_label_is_the_folder_where_files_lie_in_folders(tmp_path):
    for label in ("a_b", "c"):
        for turn in range(6):
            write(tmp_path / label / f"{turn}.wav")
    assert labelled_sounds({"train": tmp_path}).labels == ["a_b", "c"]


def test_a_table_names_paths_labels_and_groups(speakers):
    files = sorted(speakers.iterdir())
    rows = "\n".join(f"words/{file.name},{file.name[0]},{file.name.split('_')[1]}" for file in files)
    (speakers.parent / "rows.csv").write_text(f"file,kind,who\n{rows}\n")
    source = SoundSource("file", "kind", "who")
    sounds = labelled_sounds({"train": speakers.parent / "rows.csv"}, source, held_out_group="ben")
    assert sounds.labels == ["h", "l"] and set(sounds.groups["test"]) == {"ben"}


def test_a_group_that_is_held_out_is_the_test_and_nothing_else(speakers):
    sounds = labelled_sounds({"train": speakers}, BY_SPEAKER, held_out_group="ann")
    assert set(sounds.groups["test"]) == {"ann"} and len(sounds.signals["test"]) == 10
    assert set(sounds.groups["train"]) | set(sounds.groups["validation"]) == {"ben", "cid"}
    assert sounds.name == "words without ann"


def test_other_rates_and_channels_are_read_and_said(speakers):
    write(speakers / "low_dan_0.wav", rate=2 * RATE, samples=600)
    write(speakers / "low_dan_1.wav", channels=2)
    sounds = labelled_sounds({"train": speakers}, BY_SPEAKER, held_out_group="dan")
    assert {len(signal) for signal in sounds.signals["test"]} == {300}
    assert sounds.notes == (
        "1 files have several channels; their mean is read",
        "resampled to 2,000 Hz: 1 of 4,000 Hz",
    )


def test_a_saved_models_classes_and_rate_stand(speakers):
    sounds = labelled_sounds({"test": speakers}, rate=1000, labels=["none", "low", "high"])
    assert sounds.labels[0] == "none" and sounds.rate == 1000 and set(sounds.classes["test"]) == {1, 2}


@pytest.mark.parametrize(
    ("change", "source", "message"),
    [
        (lambda folder: (folder / "low_ann_0.wav").write_text("x"), None, r"low_ann_0\.wav is not a file of sound"),
        (
            lambda folder: (folder / "low_ann_0.wav").write_bytes(b""),
            None,
            r"low_ann_0\.wav is empty, 0 bytes: leave it",
        ),
        (lambda folder: write(folder / "low_ann_0.wav", samples=0), None, r"low_ann_0\.wav: it holds no samples"),
        (lambda folder: write(folder / "noname.wav"), None, r"noname\.wav has no label: .*--path_pattern"),
        (lambda folder: None, SoundSource(pattern="*_{label}/*"), "does not fit"),
        (lambda folder: [file.unlink() for file in folder.iterdir()], None, "holds no sound: a file ends in .wav"),
        (lambda folder: [file.unlink() for file in folder.glob("low*")], None, "there is one class, 'high'"),
        (
            lambda folder: soundfile.write(folder / "low_ann_0.wav", np.full(9, np.nan), RATE, subtype="FLOAT"),
            None,
            r"low_ann_0\.wav: samples must be finite, got nan at sample 0",
        ),
    ],
)
def test_what_cannot_be_read_is_named_with_what_to_do(speakers, change, source, message):
    change(speakers)
    with pytest.raises(ValueError, match=message) as raised:
        labelled_sounds({"train": speakers}, source)
    assert "\n" not in str(raised.value)


def test_sounds_that_cannot_be_read_are_left_out_if_asked_and_counted(speakers):
    (speakers / "low_ann_0.wav").write_text("x")
    write(speakers / "high_ben_1.wav", samples=0)
    with pytest.raises(ValueError, match="--drop_incomplete_rows leaves out what cannot be read"):
        labelled_sounds({"train": speakers})
    dropping = SoundSource(options=ReadOptions(drop_incomplete_rows=True))
    sounds = labelled_sounds({"train": speakers}, dropping)
    assert sum(len(part) for part in sounds.signals.values()) == 28
    assert all(len(sounds.signals[split]) == len(sounds.classes[split]) for split in sounds.signals)
    assert re.match(r"2 sounds are left out, the first since .*high_ben_1\.wav: it holds no samples", sounds.notes[0])
    for file in speakers.glob("low*"):
        file.write_bytes(b"")
    with pytest.raises(ValueError, match="no sound of the class 'low' in train can be read: "):
        labelled_sounds({"train": speakers}, dropping)


@pytest.mark.parametrize(
    ("paths", "how", "message"),
    [
        ("words", {"held_out_group": "zoe"}, "there is no such group; there are ann, ben, cid"),
        ("rows.csv", {}, r"rows\.csv, .*2: label is empty"),
        ("other.csv", {}, r"has no column 'path' \(--path_column\); it has file, label$"),
        ("notes.md", {}, "neither a folder of sounds nor a table"),
    ],
)
def test_a_wrong_source_is_refused(speakers, paths, how, message):
    folder = speakers.parent
    (folder / "rows.csv").write_text("path,label\nwords/low_ann_0.wav,\n")
    (folder / "other.csv").write_text("file,label\na.wav,b\n")
    (folder / "notes.md").write_text("x")
    source = BY_SPEAKER if paths == "words" else None
    with pytest.raises(ValueError, match=message):
        labelled_sounds({"train": folder / paths}, source, **how)


def test_a_class_that_training_lacks_is_named(speakers):
    write(speakers.parent / "more" / "mid_ann_0.wav")
    with pytest.raises(ValueError, match="of the class 'mid' in test, which no training sound has"):
        labelled_sounds({"train": speakers, "test": speakers.parent / "more"})


@pytest.mark.parametrize(
    ("pattern", "path", "found"),
    [
        ("{label}_*", "7_theo_3.wav", {"label": "7"}),
        ("{label}_{group}_*", "7_theo_3.wav", {"label": "7", "group": "theo"}),
        ("{group}/{label}-*", "ann/yes-1.wav", {"label": "yes", "group": "ann"}),
        ("{label}/*", "a_b/deep/1.wav", {"label": "a_b"}),
        ("{label}/*", "1.wav", None),
    ],
)
def test_a_pattern_finds_label_and_group(pattern, path, found):
    match = pattern_of(pattern).match(path)
    assert (match and match.groupdict()) == found


@pytest.mark.parametrize("pattern", ["*", "{label}{label}", "{label}_{group}{group}"])
def test_a_pattern_without_one_label_is_refused(pattern):
    with pytest.raises(ValueError, match="must hold"):
        pattern_of(pattern)


def test_a_tenth_of_each_class_validates():
    sounds = with_validation(tones_and_chirps(240))
    assert np.bincount(sounds.classes["validation"]).tolist() in ([4] * 4, [3, 4, 4, 4], [4, 4, 4, 3], [4, 4, 3, 4])
    assert len(sounds.signals["train"]) + len(sounds.signals["validation"]) == 160


def test_made_up_sounds_follow_their_seed_and_their_class():
    first, second = tones_and_chirps(24), tones_and_chirps(24)
    assert first.fingerprint() == second.fingerprint() != tones_and_chirps(24, seed=1).fingerprint()
    frames = Frames(first.rate)
    for signal, number in zip(first.signals["train"], first.classes["train"], strict=True):
        loudest = frames_of(torch.from_numpy(signal)[None], frames)[0].argmax(1).double()
        drift = float(loudest[-5:].mean() - loudest[:5].mean())
        wanted = {"rising": 1, "falling": -1}.get(first.labels[number], 0)
        assert (np.sign(drift) == wanted) if wanted else abs(drift) < 6


def test_noise_lies_as_far_below_the_signal_as_it_should():
    clean = tones_and_chirps(24)
    noisy = with_noise(clean, 10.0)
    for before, after in zip(clean.signals["test"], noisy.signals["test"], strict=True):
        ratio = np.mean(before**2) / np.mean((after - before) ** 2)
        assert 10 * np.log10(ratio) == pytest.approx(10, abs=0.7)
    assert noisy.fingerprint() == with_noise(clean, 10.0).fingerprint() != clean.fingerprint()


STILL = SoundAugmentation(
    **dict.fromkeys(("speed", "silence", "pace", "warp", "formants", "gain", "tilt", "curve", "noise"), 0.0),
    time_masks=0,
    band_masks=0,
)


def test_quiet_noise_is_added_before_and_behind_and_the_sound_stays():
    signals, lengths = torch.ones(200, 50), torch.tensor([50, 30] * 100)
    signals[1::2, 30:] = 0
    varied = replace(STILL, silence=0.1)
    heard, longer = varied._framed(signals, lengths, 1000, torch.Generator().manual_seed(0))
    begins = (heard == 1).int().argmax(1)
    for row, begin, length, whole in zip(heard, begins, lengths, longer, strict=True):
        assert torch.equal(row[begin : begin + length], torch.ones(length))
        quiet = torch.cat([row[:begin], row[begin + length : whole]]).abs()
        assert not quiet.numel() or quiet.max() < 1  # 15 decibels or more below the sound
        assert not row[whole:].any()
    behind = longer - lengths - begins
    for added in (begins, behind):  # none in one of two, and up to a tenth of a second
        assert 0.35 < (added == 0).float().mean() < 0.65 and 90 < added.max() <= 100
    assert len({*begins.tolist()} - {0}) > 20 and not torch.equal(begins, behind)


def test_formants_move_and_the_pitch_stays():
    # Harmonics of 250 Hz, of which those near 1,000 Hz are the loudest: a voice with one formant.
    time = torch.arange(8000) / 8000
    loudness = [math.exp(-(((250 * k - 1000) / 300) ** 2)) for k in range(1, 15)]
    signal = sum(level * torch.sin(2 * torch.pi * 250 * k * time) for k, level in enumerate(loudness, 1))[None]
    powers = power_spectra(signal.unfold(1, 256, 128), 256)
    moved = replace(STILL, formants=0.3)._shaped(powers, Frames(8000), torch.Generator().manual_seed(3))
    bins = torch.arange(powers.shape[-1]).to(powers)
    middle = [float((spectrum.mean((0, 1)) @ bins) / spectrum.mean((0, 1)).sum()) for spectrum in (powers, moved)]
    assert abs(middle[1] / middle[0] - 1) > 0.05
    spectrum = moved.mean((0, 1))
    for harmonic in range(16, 49, 8):  # 250 Hz are 8 bins
        assert float(spectrum[harmonic]) > 100 * float(spectrum[[harmonic - 4, harmonic + 4]].max())


def test_nothing_varied_gives_the_plain_frames():
    sounds = tones_and_chirps(24)
    task = AudioTask(sounds, Frames(sounds.rate, adaptation=9.0), augmentation=STILL)
    batch = task.collate("train")([task.splits["train"][row] for row in range(5)])
    varied, plain = task.inputs(batch, torch.Generator().manual_seed(0)), task.inputs(batch)
    torch.testing.assert_close(varied["input_values"], plain["input_values"], atol=2e-3, rtol=0)
    assert torch.equal(varied["attention_mask"], plain["attention_mask"])


def test_variations_follow_their_generator_and_stay_finite():
    sounds = tones_and_chirps(24)
    task = AudioTask(sounds, Frames(sounds.rate, adaptation=9.0), augmentation=SoundAugmentation())
    batch = task.collate("train")([task.splits["train"][row] for row in range(8)])
    first, again, other = (task.inputs(batch, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first["input_values"], again["input_values"])
    assert first["input_values"].shape != other["input_values"].shape or not torch.equal(
        first["input_values"], other["input_values"]
    )
    assert bool(first["input_values"].isfinite().all()) and bool((first["attention_mask"].sum(1) > 0).all())


def test_a_tasks_frames_are_those_of_its_feature_extractor():
    task = AudioTask(tones_and_chirps(24), Frames(8000, adaptation=9.0))
    rows = [task.splits["test"][row] for row in range(4)]
    ours = task.inputs(task.collate("test")(rows))
    theirs = task.processor()([signal.numpy() for signal, _ in rows], return_tensors="pt")
    assert torch.equal(ours["attention_mask"], theirs["attention_mask"].long())
    torch.testing.assert_close(ours["input_values"], theirs["input_values"], atol=1e-5, rtol=0)


def test_fitted_frames_have_mean_zero_and_deviation_one():
    signals = tones_and_chirps(24).signals["train"]
    frames = fit_frames(signals, Frames(8000))
    values = torch.cat([frames_of(torch.from_numpy(signal)[None], frames)[0] for signal in signals])
    assert float(values.mean(0).abs().max()) < 1e-3 and float((values.std(0, correction=0) - 1).abs().max()) < 1e-3


def test_a_sound_of_one_frame_has_a_summary():
    assert summary_of(np.zeros(3, dtype=np.float32), Frames(8000, bands=7)).shape == (5 * 7,)


def test_rows_of_a_batch_are_of_about_one_length():
    lengths = np.random.default_rng(0).integers(1, 1000, 400)
    order = order_by_length(lengths, 10, torch.Generator().manual_seed(0))
    assert sorted(order) == list(range(400))
    spread = [np.ptp(lengths[order[start : start + 10]]) for start in range(0, 400, 10)]
    assert np.mean(spread) < 100


def test_the_recipe_keeps_to_its_minutes_and_gives_its_reasons():
    many = make_recipe(Heard(rows=100_000, classes=10, rate=16_000, seconds=1e5, median=1.0), minutes=1.0)
    few = make_recipe(Heard(rows=200, classes=3, rate=8000, seconds=100.0, median=0.5))
    assert many.recipe.epochs < few.recipe.epochs and many.recipe.minutes == pytest.approx(0.8)
    assert few.recipe.architecture["hidden_size"] < many.recipe.architecture["hidden_size"]
    long = make_recipe(Heard(rows=200, classes=3, rate=8000, seconds=2000.0, median=10.0))
    assert long.options["hop_length"] == 2 * few.options["hop_length"]
    assert {"theta", "epochs", "hidden_size", "hop_length"} <= few.reasons.keys()


TRAINED = ["--quiet", "--report_to", "none", "--config_overrides", "hidden_size=8", "intermediate_size=8"]


def test_a_folder_trains_a_model_that_evaluate_and_listen_read(speakers, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flags = ["--train_file", str(speakers), "--path_pattern", "{label}_{group}_*", "--held_out_group", "cid"]
    record = run_verb("train audio", [*flags, *TRAINED, "--num_train_epochs", "1", "--output_dir", "run"], None)
    said = capsys.readouterr().out
    assert "recipe made by the rows" in said and "ridge classifier of log-mel means" in said
    assert set(record.metrics) == {"validation", "test"} and record.task == "audio-classification"
    assert record.lines["ridge classifier of log-mel means"]["test"]["accuracy"] == 1.0
    assert RunRecord.read(tmp_path / "run").data["sampling_rate"] == RATE
    scores = run_verb("evaluate", ["run/model"], None)
    assert scores["accuracy"] == pytest.approx(record.metrics["test"]["accuracy"])
    for words in ([], ["--test_file", str(speakers)]):
        noisy = run_verb("evaluate", ["run/model", "--noise_db", "10", *words], None)
        assert set(noisy) == {"accuracy", "macro_f1"}


def test_flags_that_would_be_ignored_are_refused(speakers, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for flags, message in (
        (["--train_file", str(speakers), "--path_column", "x"], "--path_column has no effect"),
        (["--rows", "60", "--path_pattern", "{label}_*"], "--path_pattern has no effect"),
        (["--train_file", str(speakers), "--path_pattern", "*"], "must hold {label} once"),
        (["--train_file", str(speakers), "--rows", "60"], "--rows has no effect"),
    ):
        with pytest.raises(SystemExit) as ended:
            run_verb("train audio", [*flags, *TRAINED], None)
        said = f"{ended.value} {capsys.readouterr().err}"
        assert message in said and "Traceback" not in said


def test_few_validation_sounds_of_ones_own_are_warned_of():
    made_up = tones_and_chirps(24)
    few = replace(made_up, title="words", signals={split: rows[:4] for split, rows in made_up.signals.items()})
    said = AudioTask(few, Frames(8000, adaptation=9.0)).announce()
    assert "\nwarning: only 4 validation sounds, which score and choose by little more than chance: give a file" in said
    assert "warning" not in AudioTask(replace(few, title=None), Frames(8000, adaptation=9.0)).announce()
