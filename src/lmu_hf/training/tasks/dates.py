"""Dates and quantities that Babel writes in two languages: pairs to translate without a download."""

import random
from collections.abc import Iterator
from datetime import date, timedelta

from .translation import TranslationTask

# CLDR's names of units, as Babel's `format_unit` takes them.
UNITS = (
    *("length-kilometer", "length-meter", "length-centimeter", "mass-kilogram", "mass-gram", "volume-liter"),
    *("temperature-celsius", "duration-hour", "duration-minute", "duration-day", "speed-kilometer-per-hour"),
    *("area-square-meter", "power-watt", "digital-megabyte", "electric-volt"),
)
CURRENCIES = ("EUR", "USD", "VND", "JPY", "GBP", "CHF")


def dates_and_quantities(
    source_lang: str = "en", target_lang: str = "de", rows: int = 24_000, seed: int = 0, **how
) -> TranslationTask:
    """Dates, spans, quantities and prices, as Babel's CLDR data writes them in two languages; no two sources alike.

    Args:
        source_lang: a locale that Babel knows.
        target_lang: another.
        rows: pairs in all; a twelfth of them validates, and as many test.
        seed: of what is drawn.
        how: further arguments of :class:`TranslationTask`.

    Raises:
        ValueError: Babel does not know a locale, or the rows are too few to split.
    """
    from babel import Locale, UnknownLocaleError
    from datasets import Dataset

    try:
        locales = [Locale.parse(code) for code in (source_lang, target_lang)]
    except (UnknownLocaleError, ValueError) as error:
        raise ValueError(f"source_lang and target_lang must be locales that Babel knows: {error}") from error
    if rows < 12:
        raise ValueError(f"rows must be at least 12, to be split in three, got {rows}")
    drawn: dict[str, str] = {}
    for source, target in _draw_pairs(random.Random(seed), *locales):
        drawn[source] = target  # a source drawn twice keeps its place and its last target
        if len(drawn) == rows:
            break
    pairs = Dataset.from_dict({source_lang: list(drawn), target_lang: list(drawn.values())})
    held = rows // 12  # drawn at random, so any stretch will do
    parts = {"validation": range(held), "test": range(held, 2 * held), "train": range(2 * held, rows)}
    splits = {split: pairs.select(part) for split, part in parts.items()}
    task = TranslationTask("dates and quantities by Babel", splits, source_lang, target_lang, **how)
    task.example = next(iter(drawn))
    return task


def _draw_pairs(draw: random.Random, *locales) -> Iterator[tuple[str, str]]:
    from babel.dates import format_date, format_timedelta
    from babel.numbers import format_currency
    from babel.units import format_unit

    def a_date(locale, day, style, _) -> str:
        return format_date(day, style, locale=locale)

    def a_span(locale, day, _, amount) -> str:
        # Up to 900 days and `amount` hours; Babel rounds to the largest unit that fits.
        return format_timedelta(timedelta(days=day.toordinal() % 900, hours=amount), locale=locale, add_direction=True)

    def a_quantity(locale, day, style, amount) -> str:
        return format_unit(
            amount, UNITS[day.toordinal() % len(UNITS)], "short" if style == "medium" else "long", locale=locale
        )

    def a_price(locale, day, style, amount) -> str:
        # The day picks unit and currency, so that both languages write the same one.
        currency = CURRENCIES[day.toordinal() % len(CURRENCIES)]
        if style == "full":
            return format_currency(amount, currency, locale=locale, format_type="name")
        return format_currency(amount, currency, locale=locale)

    while True:
        write = draw.choice((a_date, a_date, a_span, a_quantity, a_price))  # dates twice as often as the others
        day = date(1900, 1, 1) + timedelta(days=draw.randrange(73_000))  # 200 years
        # Amounts from 1 to 100,000, as many in each decade, with up to two decimals.
        style, amount = draw.choice(("full", "long", "medium")), round(10 ** draw.uniform(0, 5), draw.randrange(3))
        source, target = (write(locale, day, style, amount) for locale in locales)  # one drawing, written twice
        yield source, target
