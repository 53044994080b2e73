"""The measurements that builds choose by: the user's database, and after it what convc ships for common processors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from convc.targets.measurements import Record, TuningError
from convc.targets.target import AnyTarget
from convc.tuning.database import Database, Setting, digest
from convc.tuning.known import known_choices


@dataclass(frozen=True)
class Choices:
    """`shipped` is by digest of kernel text."""

    database: Database | None
    setting: Setting
    shipped: dict[str, Record]

    @staticmethod
    def open(database: str, target: AnyTarget, threads: int) -> Choices | None:
        """None if nothing can be known. Raises TuningError for a file that is no database."""
        shipped = known_choices(target, threads)
        if not database and not shipped:
            return None
        if database and not Path(database).exists():
            raise TuningError(f"no tuning database {database}: make it with convc tune --db")
        return Choices(Database.read(Path(database)) if database else None, Setting.of(target, threads), shipped)

    def records(self, texts: Sequence[str]) -> list[list[Record]]:
        """Implements `Measurements`. What this machine has measured comes before what others have, and is not mixed
        with it: their clocks differ. A candidate that failed here is in neither case one that succeeded."""
        mine = [self.database.records(text, self.setting) if self.database else [] for text in texts]
        if any(record.outcome == "ok" for records in mine for record in records):
            return mine
        return [self._shipped(text, records) for text, records in zip(texts, mine)]

    def _shipped(self, text: str, failed: list[Record]) -> list[Record]:
        record = self.shipped.get(digest(text))
        keep = record is not None and record.key not in {each.key for each in failed}
        return [record, *failed] if record is not None and keep else failed
