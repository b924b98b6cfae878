"""What a redrive makes of a letter. Pure.

A dead letter goes back to its place: the head of its key, due at once, with fresh attempts. A
refused command cannot: its entity has since taken later commands and would take it for a duplicate
of the past, so it is sent anew at the journal's end.
"""

from __future__ import annotations

import msgspec

from eventmill.model.commit import Letter, LetterStatus
from eventmill.model.entry import Entry, renewed


def retried(letter: Letter, now: int) -> Letter:
    """Return the letter as it is tried again; what it failed with stays readable."""
    return msgspec.structs.replace(letter, status=LetterStatus.RETRYING, attempts=0, due=now)


def sent_again(command: Entry, now: int) -> Entry:
    """Return a new entry that sends a command once more, from the shard it was sent from."""
    return renewed(command, now)
