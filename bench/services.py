"""What the service rows run: the carts of examples/shopping_cart, alone or as the whole shop.

`carts` does the same work as the peers' carts. The whole shop has a consumer and a view follow every
event in the same process as well.
"""

from __future__ import annotations

from eventmill import Service
from examples.shopping_cart.shop import Cart
from examples.shopping_cart.shop import service as shop

__all__ = ["carts", "shop"]

carts = Service("carts", components=[Cart])
