"""Numbers and shapes as the report words them."""

from __future__ import annotations

from blemish.output.report.shapes import Shape


def percent(share: float) -> str:
    """Share as text with one decimal, cut and not rounded: only all is 100%, and only nothing is 0%.

    >>> percent(0.99996), percent(1.0), percent(0.00001), percent(0.0), percent(0.25)
    ('99.9%', '100%', '< 0.1%', '0%', '25.0%')
    """
    if share <= 0:
        return "0%"
    if share >= 1:
        return "100%"
    tenths = int(share * 1000 + 1e-9)
    return f"{min(tenths, 999) / 10:.1f}%" if tenths else "< 0.1%"


def number(value: float) -> str:
    """Four significant digits, with an exponent only for very small and very large numbers.

    >>> number(0.123456), number(1234.56), number(0.0), number(1e-7)
    ('0.1235', '1235', '0', '1e-07')
    """
    return f"{value:.4g}"


def plural(count: int, noun: str) -> str:
    """Count and noun, with a thin space between thousands.

    >>> plural(1, "image"), plural(2, "type")
    ('1 image', '2 types')
    """
    return f"{count:,}".replace(",", "\u202f") + f" {noun}" + ("" if count == 1 else "s")


def describe_shape(shape: Shape) -> str:
    """The shape of a group in one or two sentences: form, number of regions, area.

    >>> describe_shape(Shape(measured=9, with_region=9, area=0.008, regions=1, elongation=6.0))
    'Long and thin, one region, covers 0.8% of the image.'
    """
    if shape.with_region == 0:
        return "No pixel lies above the threshold."
    form = "Long and thin" if shape.elongation >= 3 else "Elongated" if shape.elongation >= 1.7 else "Compact"
    count = round(shape.regions)
    regions = "one region" if count <= 1 else f"{count} regions" if count <= 4 else f"scattered over {count} regions"
    if shape.area >= 0.5:
        form = "Nearly everywhere" if shape.area >= 0.9 else "Large"
    text = f"{form}, {regions}, covers {percent(shape.area).replace('<', 'less than')} of the image."
    if shape.with_region < shape.measured:
        text += f" {shape.measured - shape.with_region} of {shape.measured} images measured have no such region."
    return text


def compare_shapes(shapes: dict[str, Shape]) -> dict[str, str]:
    """What sets each type apart from all other types, in one sentence; an empty text where nothing does.

    A type stands out by a measure if its value is at least 1.5 times the next one.

    Args:
        shapes: name of the type -> its shape, without the normal group.
    """
    sayings = (
        ("area", "largest area of all types", "smallest area of all types"),
        ("elongation", "most elongated of all types", ""),
        ("regions", "most regions of all types", ""),
    )
    words: dict[str, list[str]] = {name: [] for name in shapes}
    known = {name: s for name, s in shapes.items() if s.with_region}
    for attribute, most, least in sayings if len(known) > 1 else ():
        order = sorted(known, key=lambda name: (float(getattr(known[name], attribute)), name))
        values = [float(getattr(known[name], attribute)) for name in order]
        if values[-1] >= 1.5 * values[-2]:
            words[order[-1]].append(most)
        if least and values[1] >= 1.5 * values[0]:
            words[order[0]].append(least)
    return {name: ", ".join(said).capitalize() + "." if said else "" for name, said in words.items()}
