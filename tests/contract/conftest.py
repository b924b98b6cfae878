import pytest

pytest.register_assert_rewrite("eventmill.testing.contract")
