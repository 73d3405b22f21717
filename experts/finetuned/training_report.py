"""How training went: which rows there were of each label, and how heads did on those that they had not seen."""

from __future__ import annotations

from dataclasses import dataclass

FEW = 3
"""Rows held out of a label below which its share of right ones says little."""
NAMED = 10
"""Labels that a warning names."""


@dataclass(frozen=True, slots=True)
class LabelCount:
    """Rows of a label, those of them that were held out, and those of these that were labelled rightly."""

    label: str
    rows: int
    held_out: int
    right: int


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """Rows and results of each label, by name.

    `crossed`: each fifth of the rows was held out in turn (cross-validation), not one fifth alone.
    """

    by_label: tuple[LabelCount, ...]
    crossed: bool
    bytes: int = 0

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(each.label for each in self.by_label)

    @property
    def rows(self) -> int:
        return sum(each.rows for each in self.by_label)

    @property
    def held_out(self) -> int:
        return sum(each.held_out for each in self.by_label)

    @property
    def accuracy(self) -> float:
        """The share of rows held out that were labelled rightly, by heads that did not see them."""
        return sum(each.right for each in self.by_label) / max(1, self.held_out)

    @property
    def commonest(self) -> float:
        """The share of the rows held out that have the commonest label among them: what guessing it comes to."""
        return max(each.held_out for each in self.by_label) / max(1, self.held_out)

    @property
    def rare(self) -> tuple[LabelCount, ...]:
        """Labels of which too few rows were held out to tell how well they are known, fewest first."""
        return tuple(sorted((e for e in self.by_label if e.held_out < FEW), key=lambda e: (e.held_out, e.rows)))

    @property
    def alike(self) -> tuple[tuple[str, ...], ...]:
        """Labels that differ only in how they are written: in case and blanks, or as one number."""
        groups: dict[str | float, list[str]] = {}
        for label in self.labels:
            groups.setdefault(_meant(label), []).append(label)
        return tuple(tuple(group) for group in groups.values() if len(group) > 1)

    @property
    def told(self) -> str:
        """The accuracy in words."""
        if not self.held_out:
            return "unknown: too few rows of a label to hold any out"
        how = "cross-validated on" if self.crossed else "of"
        counts = sorted({each.held_out for each in self.by_label})
        each = f"{counts[0]:,} to {counts[-1]:,} of a" if counts[1:] else f"{counts[0]:,} of each"
        return f"{self.accuracy:.1%}, {how} {self.held_out:,} rows held out, {each} label"

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the accuracy hides."""
        found = []
        if self.held_out and self.accuracy <= self.commonest:
            found.append(f"no better than guessing the commonest label, which is right for {self.commonest:.1%}")
        if rare := self.rare:
            named = ", ".join(
                f"{each.label!r} ({each.rows:,} rows, {each.held_out:,} held out)" for each in rare[:NAMED]
            )
            more = f" and {len(rare) - NAMED:,} more" if len(rare) > NAMED else ""
            found.append(f"the accuracy says little about {named}{more}: give more rows of them")
        for alike in self.alike[:NAMED]:
            named = " and ".join(map(repr, alike))
            found.append(f"the labels {named} are learnt as different ones: write them alike if they mean the same")
        return tuple(found)


def _meant(label: str) -> str | float:
    try:
        return float(label)
    except ValueError:
        return " ".join(label.casefold().split())
