"""The report of a training: rows of each label, and accuracy on held-out rows."""

from __future__ import annotations

from dataclasses import dataclass

from experts.finetuned.dataset import TrainingRow

FEW = 3
"""Number of held-out rows below which the accuracy of a label says little."""
NAMED = 10
"""Maximum labels named in a warning, and maximum texts that have a warning of their own."""
SHOWN = 80
"""Characters of a text that a warning shows."""


@dataclass(frozen=True, slots=True)
class LabelCount:
    """Counts of one label: all rows, held-out rows, and held-out rows that were labelled correctly."""

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
    contradictory: tuple[tuple[TrainingRow, ...], ...] = ()
    """Rows that give one text several labels, one row of each label."""
    encoder: str = ""
    """The identity of the encoder; empty for a head over words."""
    out_of_scope: int = 0
    """Rows that have none of the labels."""
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
        """Share of held-out rows that were labelled correctly."""
        return sum(each.right for each in self.by_label) / max(1, self.held_out)

    @property
    def balanced_accuracy(self) -> float:
        """Mean over the labels of the share of their held-out rows that were labelled correctly."""
        measured = [each.right / each.held_out for each in self.by_label if each.held_out]
        return sum(measured) / max(1, len(measured))

    @property
    def commonest(self) -> float:
        """Share of held-out rows with the most common label: the accuracy of always guessing it."""
        return max(each.held_out for each in self.by_label) / max(1, self.held_out)

    @property
    def rare(self) -> tuple[LabelCount, ...]:
        """Labels with too few held-out rows for an accuracy, fewest first."""
        return tuple(sorted((e for e in self.by_label if e.held_out < FEW), key=lambda e: (e.held_out, e.rows)))

    @property
    def alike(self) -> tuple[tuple[str, ...], ...]:
        """Groups of labels that differ only in case and blanks, or are the same number."""
        groups: dict[str | float, list[str]] = {}
        for label in self.labels:
            groups.setdefault(_meant(label), []).append(label)
        return tuple(tuple(group) for group in groups.values() if len(group) > 1)

    @property
    def summary(self) -> str:
        """The accuracy in words."""
        if not self.held_out:
            return "unknown: too few rows of a label to hold any out"
        how = "cross-validated on" if self.crossed else "of"
        counts = sorted({each.held_out for each in self.by_label})
        each = f"{counts[0]:,} to {counts[-1]:,} of a" if counts[1:] else f"{counts[0]:,} of each"
        return f"{self.accuracy:.1%}, {how} {self.held_out:,} rows held out, {each} label"

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings about what the accuracy does not show."""
        found = []
        if self.out_of_scope and not self.encoder:
            found.append(f"{self.out_of_scope:,} rows out of scope are ignored: only a head with an encoder uses them")
        if self.held_out and self.accuracy <= self.commonest:
            found.append(
                f"no better than always guessing the most common label, which is right for {self.commonest:.1%}"
            )
        if rare := self.rare:
            named = ", ".join(
                f"{each.label!r} (rows: {each.rows:,}, held out: {each.held_out:,})" for each in rare[:NAMED]
            )
            more = f" and {len(rare) - NAMED:,} more" if len(rare) > NAMED else ""
            found.append(f"the accuracy says little about {named}{more}: give more rows of them")
        for alike in self.alike[:NAMED]:
            named = " and ".join(map(repr, alike))
            found.append(f"the labels {named} are learnt as different labels: write them alike if they mean the same")
        for rows in self.contradictory[:NAMED]:
            labels = " and ".join(f"{row.label!r}{f' in line {row.line}' if row.line else ''}" for row in rows)
            found.append(f"the text {rows[0].text[:SHOWN]!r} has the labels {labels}: keep the right one")
        if (others := len(self.contradictory) - NAMED) > 0:
            found.append(f"{others:,} more texts have several labels")
        return tuple(found)


def _meant(label: str) -> str | float:
    try:
        return float(label)
    except ValueError:
        return " ".join(label.casefold().split())
