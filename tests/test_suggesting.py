"""`lmu-hf suggest`: signals as people have them, their spectrum, and the orders that keep their windows."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import wavfile

from lmu_hf import LegendreSystem, decode_past
from lmu_hf.common.errors import InputError
from lmu_hf.data.signals import read_signal
from lmu_hf.data.suggesting import kept_share, spectrum, suggest_window
from lmu_hf.data.tables import ReadOptions
from lmu_hf.memory import memory_recurrent
from lmu_hf_cli import run as run_verb

pytestmark = pytest.mark.usefixtures("cache")


def sine(cycle: float, steps: int = 1200) -> np.ndarray:
    return np.sin(2 * math.pi * np.arange(steps) / cycle)


# --------------------------------------------------------------------------- what is kept


def test_the_energy_is_that_of_the_signal_by_parseval():
    signal = torch.randn(301, dtype=torch.float64)
    for steps in (300, 301):
        centred = signal[:steps] - signal[:steps].mean()
        frequencies, energy = spectrum(centred)
        assert energy[-1] == pytest.approx(1) and len(frequencies) == steps // 2
        low = torch.fft.rfft(centred)
        low[11:] = 0  # ten lines
        kept = torch.fft.irfft(low, n=steps).square().sum() / centred.square().sum()
        assert energy[9] == pytest.approx(kept.item())


def test_the_share_kept_is_that_of_a_memory_that_is_written_step_by_step():
    signal = torch.randn(300, dtype=torch.float64).cumsum(0)
    signal -= signal.mean()
    m, _ = memory_recurrent(signal[None, :, None], LegendreSystem(order=6, theta=50))
    decoded = decode_past(m[0, -1, 0], LegendreSystem(order=6, theta=50), torch.arange(0.5, 50, dtype=torch.float64))
    past = signal.flip(0)[:50]
    expected = 1 - (decoded - past).square().sum() / past.square().sum()
    assert kept_share(signal[None], 50, 6) == pytest.approx(expected.item(), abs=1e-9)


def test_the_least_order_is_found_and_the_rule_holds_for_sines():
    found = suggest_window(sine(50) + 5, thetas=[50, 150])
    assert found.edges[0.9] == pytest.approx(1 / 50) and found.longest[0.9] == 50 and found.theta == 50
    for theta, orders in found.orders.items():
        for kept in orders:
            assert kept.kept >= kept.share and abs(kept.order - kept.rule) <= 4
            assert found.measured[theta][kept.order - 1] < kept.share  # one less does not do
    assert found.orders[150][1].order > found.orders[50][1].order  # three times as many cycles


def test_a_random_walk_needs_about_half_of_the_rule():
    walk = np.random.default_rng(0).standard_normal(3000).cumsum()
    for kept in suggest_window(walk, thetas=[300]).orders[300]:
        assert 0.2 * kept.rule < kept.order < 0.65 * kept.rule


def test_a_window_of_noise_needs_every_step():
    noise = np.random.default_rng(0).standard_normal(600)
    assert [kept.order for kept in suggest_window(noise, thetas=[40]).orders[40]] == [None, None]


def test_windows_follow_from_the_longest_cycles():
    found = suggest_window(sine(40) + 0.2 * sine(7))
    assert list(found.orders) == [10, 20, 40, 80, 160] and found.theta == 40
    assert max(suggest_window(np.arange(100.0)).orders) <= 50


@pytest.mark.parametrize(
    "signal, thetas, message",
    [
        (np.full(50, 3.5), None, "the signal is constant, 3.5"),
        (np.arange(9.0), None, "at least 16 steps in one row, got shape (9,)"),
        (np.array([*range(30), math.nan]), None, "step 30 of the signal is no finite number"),
        (sine(9, 60), [20, 61], "theta 61 does not fit into the signal, which has 60 steps"),
    ],
)
def test_a_signal_that_will_not_do_is_refused(signal, thetas, message):
    with pytest.raises(InputError, match=re.escape(message)):
        suggest_window(signal, thetas)


# --------------------------------------------------------------------------- files


def test_a_signal_is_read_from_any_kind_of_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = np.arange(20)
    np.save("a.npy", values)
    np.savez("a.npz", first=values, second=np.stack([values, values], 1))
    wavfile.write("a.WAV", 8000, values.astype(np.int16))
    wavfile.write("two.wav", 8000, np.stack([values, 2 * values], 1).astype(np.int16))
    Path("one.csv").write_text("date,load\n" + "".join(f"2020-01-{at + 1:02},{at}\n" for at in values))
    Path("many.csv").write_text("a;b\n" + "".join(f"{at};{at * 2}\n" for at in values))
    first = ReadOptions(field="first")
    for path, column, options in (
        ("a.npy", None, None),
        ("a.npz", None, first),
        ("a.WAV", None, None),
        ("one.csv", None, None),
        ("many.csv", "a", None),
    ):
        assert (read_signal(Path(path), column, options).values == values).all(), path
    assert (read_signal(Path("two.wav"), "1").values == 2 * values).all()
    assert read_signal(Path("two.wav"), "1").rate == 8000
    assert (read_signal(Path("a.npz"), "1", ReadOptions(field="second")).values == values).all()
    for path, column, options, message in (
        (".", None, None, ". is a folder: FILE must name a file"),
        ("two.wav", None, None, "two.wav has 2 channels: --column must name one, from 0 to 1"),
        ("two.wav", "2", None, "two.wav has no channel '2': --column must be a number from 0 to 1"),
        (
            "many.csv",
            None,
            None,
            "many.csv has several columns of numbers, a, b: --column must name the one to measure",
        ),
        ("many.csv", "c", None, "many.csv has no column 'c': --column must name one of a, b"),
        ("a.npz", None, None, "a.npz holds the arrays first, second: --field must name one"),
        ("a.npz", None, ReadOptions(field="x"), "a.npz has no array 'x': --field must name one of first"),
        ("a.npy", None, first, "--field has no effect on a.npy, which is read as npy"),
        ("a.WAV", None, ReadOptions(delimiter=";"), "--delimiter has no effect on a.WAV"),
    ):
        with pytest.raises(InputError, match=re.escape(message)):
            read_signal(Path(path), column, options)


def test_a_file_that_holds_no_signal_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("nan.npy", np.array([0.0, math.nan]))
    np.save("words.npy", np.array(["a", "b"]))
    np.save("cube.npy", np.zeros((2, 2, 2)))
    np.save("objects.npy", np.array([None, 1]), allow_pickle=True)
    for name in ("bad.wav", "bad.npy", "a.flac"):
        Path(name).write_bytes(b"some words")
    Path("bad.csv").write_text("a\n1\n\nx\n")
    Path("words.csv").write_text("a,b\nx,y\n")
    for name, message in (
        ("nan.npy", "nan.npy holds nan at step 1: every step"),
        ("words.npy", "words.npy holds <U1 of shape (2,): a signal is real numbers"),
        ("cube.npy", "of shape (2, 2, 2)"),
        ("objects.npy", "objects.npy cannot be read as an array of NumPy: "),
        ("bad.wav", "bad.wav cannot be read as a WAV file: "),
        ("bad.npy", "bad.npy cannot be read as an array of NumPy: "),
        ("a.flac", "a.flac must end in one of .wav, .npy"),
        ("bad.csv", "bad.csv has 'x' in 'a' (line 4): every row must hold a finite number"),
        ("words.csv", "words.csv has no number in a, b: --column must name"),
    ):
        with pytest.raises(InputError, match=re.escape(message)) as told:
            read_signal(Path(name))
        assert "\n" not in str(told.value)


# --------------------------------------------------------------------------- the command


def test_the_command_prints_a_table_and_draws(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    wavfile.write("tone.wav", 1000, (1000 * sine(40, 800)).astype(np.int16))
    found = run_verb("suggest", argv=["tone.wav", "--theta", "40", "80", "--figure", "tone.png"])
    assert Path("tone.png").read_bytes().startswith(b"\x89PNG")
    assert list(found.orders) == [40, 80]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "tone.wav: 800 steps, 1,000 a second" and "0.025 cycles a step (25 Hz)" in lines[1]
    rows = [line.split() for line in lines if line.strip().startswith(("40 ", "80 "))]
    assert [int(row[1]) for row in rows] == [orders[0].order for orders in found.orders.values()]
    assert f"theta=40 order={found.orders[40][1].order}" in lines[-3]
    for words, message in (
        (["tone.wav", "--theta", "900"], "tone.wav: theta 900 does not fit into the signal, which has 800 steps"),
        (["none.wav"], "there is no file none.wav"),
        (["tone.wav", "--encoding", "utf-8"], "--encoding has no effect on tone.wav"),
    ):
        with pytest.raises(SystemExit, match=message) as ended:
            run_verb("suggest", argv=words)
        assert "\n" not in str(ended.value.code)
    with pytest.raises(SystemExit):
        run_verb("suggest", argv=["tone.wav", "--figure", "tone.jpg"])
    assert "--figure must end in .png" in capsys.readouterr().err
