"""Names of sources and types as small numbers: rows and index keys stay short."""

from __future__ import annotations

import apsw

from eventmill.adapters.sqlite.statements import SQL


class Names:
    """Both directions in memory; new ones are written inside the transaction that needs them."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.texts: dict[int, str] = {}
        self._new: list[str] = []
        self.in_doubt = False
        """A commit of unknown outcome may have stored names that are not here."""

    def read(self, db: apsw.Connection) -> None:
        """Read all names; done whenever the writer is opened, or they are in doubt."""
        self.texts = dict(db.execute(SQL["names"]))
        self.numbers = {text: number for number, text in self.texts.items()}
        self._new = []
        self.in_doubt = False

    def number(self, db: apsw.Connection, text: str) -> int:
        """Return a name's number; a new name is stored in the open transaction."""
        number = self.numbers.get(text)
        if number is None:
            number = len(self.numbers) + 1
            db.execute(SQL["insert_name"], (number, text))
            self.numbers[text] = number
            self.texts[number] = text
            self._new.append(text)
        return number

    def keep_new(self) -> None:
        """The transaction was committed."""
        self._new.clear()

    def forget_new(self) -> None:
        """The transaction was not committed."""
        for text in self._new:
            del self.texts[self.numbers.pop(text)]
        self._new.clear()
