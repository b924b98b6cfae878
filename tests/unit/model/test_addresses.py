"""Addresses are shown without what they keep to themselves."""

from __future__ import annotations

import pytest

from eventmill.model.addresses import without_secrets


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://host/shop", "postgresql://host/shop"),
        ("postgresql://me:p@ss?word@host:5432/shop?sslmode=require", "postgresql://host:5432/shop"),
        ("postgresql://me@/shop?host=/run/pg&password=secret", "postgresql:///shop"),
        ("nats://token@host:4222", "nats://host:4222"),
    ],
)
def test_no_user_password_or_option_is_shown(url: str, shown: str) -> None:
    assert without_secrets(url) == shown
