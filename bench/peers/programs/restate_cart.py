"""The cart as a Restate virtual object: items in its state, the new items as the reply."""

import restate

cart = restate.VirtualObject("cart")


@cart.handler()
async def add_item(ctx: restate.ObjectContext, item: dict) -> dict:
    items = await ctx.get("items") or {}
    items[item["sku"]] = items.get(item["sku"], 0) + item["quantity"]
    ctx.set("items", items)
    return items


app = restate.app(services=[cart])
