"""Gathers the scores of a run of several cells, and saves the result whenever a cell is complete."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path

from qpibench.evaluation.joining import join
from qpibench.evaluation.result import Result, SuiteRecord
from qpibench.evaluation.result_file import save_result


class Gathering:
    """The result of a run, cell by cell.

    Parameters
    ----------
    path
        The result to write.
    labels
        The cell of every part that is asked, as TRACK/CELL; empty where a release is evaluated without a track.
    suite
        The suite of the cells.
    former
        The result of an earlier run.
    again
        Cells of the earlier run that are evaluated again, as TRACK/CELL; the file has them until they are complete.

    Attributes
    ----------
    kept, saved
        Cells of the earlier run that stay, and all that are complete.
    not_applicable
        Cells that the entry cannot take, with the reason; to be filled in by the run.
    """

    def __init__(
        self,
        path: Path,
        labels: Iterable[str],
        *,
        suite: SuiteRecord | None = None,
        former: Result | None = None,
        again: Collection[str] = (),
    ) -> None:
        self._path, self._suite, self._former = path, suite, former
        self._missing = Counter(labels)
        self._results: list[tuple[str, Result]] = []
        cells = [] if former is None else [cell.record.label for cell in former.cells.values() if cell.record]
        self.kept = [label for label in cells if label not in again]
        self.saved = [*self.kept]
        self.not_applicable: dict[str, str] = {}

    @property
    def count(self) -> int:
        """Number of cells that are asked."""
        return len(self._missing)

    def add(self, label: str, result: Result) -> None:
        """Add the result of a part of a cell; it is saved with the last of them."""
        self._results.append((label, result))
        self._missing[label] -= 1
        if not self._missing[label]:
            self.saved.append(label)
            self.save()

    def save(self) -> None:
        """Write the cells that are complete, as an interrupted run keeps them."""
        save_result(self._joined(finished=self.count == 1), self._path)

    def finish(self) -> Result:
        """Write and return the result of a run that has come to its end."""
        result = self._joined(finished=True)
        save_result(result, self._path)
        return result

    def _joined(self, *, finished: bool) -> Result:
        whole = [result for label, result in self._results if label in self.saved and label not in self.not_applicable]
        if self._former is not None:
            newer = {*self.saved}.difference(self.kept)
            cells = {
                name: cell
                for name, cell in self._former.cells.items()
                if cell.record and (cell.record.label in self.kept or not (finished or cell.record.label in newer))
            }
            whole[:0] = [self._former.model_copy(update={"cells": cells})] if cells else []
        result = join(whole, suite=self._suite, not_applicable=self.not_applicable, finished=finished)
        if self._former is None:
            return result
        of_label = {cell.record.label: (name, cell) for name, cell in result.cells.items() if cell.record}
        in_order = dict(of_label[label] for label in self._missing if label in of_label)
        return result.model_copy(update={"cells": in_order})
