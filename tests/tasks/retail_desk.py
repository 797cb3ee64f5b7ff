"""The tools of the shop, and an agent that serves customers with them."""

from __future__ import annotations

import ast
import functools
import operator
from collections.abc import Callable
from typing import Any, Final, Literal

from retail_shop import Record, Refused, Shop, difference, swaps, taken_out

from treadle import Context, Retry, tool

_ARITHMETIC: Final[dict[type, Callable[..., Any]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.USub: operator.neg,
}


def reading(body: Callable[..., Any]) -> Any:
    """A tool that only looks: it may be called again after a crash."""
    return tool(_in_shop(body))


def writing(body: Callable[..., Any]) -> Any:
    """A tool that changes the shop: where a call is in doubt, the shop says whether it was made."""

    @functools.wraps(body)
    async def find(ctx: Context, **arguments: Any) -> Any:
        return ctx.resource(Shop).find(ctx.idempotency_key)

    find.__name__ = f"look_for_{body.__name__}"
    did_nothing = Retry(attempts=1, on=Refused)
    return tool(effect="once", in_doubt=find, retry=did_nothing)(_in_shop(body))


def _in_shop(body: Callable[..., Any]) -> Any:
    @functools.wraps(body)
    async def call(ctx: Context, **arguments: Any) -> Any:
        work = functools.partial(body, ctx, **arguments)
        return ctx.resource(Shop).call(body.__name__, ctx.idempotency_key, work)

    return call


@reading
def find_user_id_by_email(ctx: Context, email: str) -> str:
    """Find the id of a user by email."""
    return ctx.resource(Shop).find_user(lambda user: user["email"].lower() == email.lower())


@reading
def find_user_id_by_name_zip(ctx: Context, first_name: str, last_name: str, zip: str) -> str:  # noqa: A002
    """Find the id of a user by name and zip code."""
    wanted = (first_name.lower(), last_name.lower(), zip)

    def fits(user: Record) -> bool:
        name = user["name"]
        return (name["first_name"].lower(), name["last_name"].lower(), user["address"]["zip"]) == wanted

    return ctx.resource(Shop).find_user(fits)


@reading
def get_user_details(ctx: Context, user_id: str) -> dict[str, Any]:
    """Look up a user: address, ways to pay, orders."""
    return ctx.resource(Shop).get("users", user_id)


@reading
def get_order_details(ctx: Context, order_id: str) -> dict[str, Any]:
    """Look up an order by its number.

    Args:
        order_id: Such as "#W0000000"; the "#" belongs to it.
    """
    return ctx.resource(Shop).get("orders", order_id)


@reading
def get_product_details(ctx: Context, product_id: str) -> dict[str, Any]:
    """Look up a product and its variants; the number of an item is not that of its product."""
    return ctx.resource(Shop).get("products", product_id)


@reading
def calculate(ctx: Context, expression: str) -> str:
    """Work out an expression of numbers, + - * / and parentheses."""
    try:
        return str(round(_worked_out(ast.parse(expression, mode="eval").body), 2))
    except (SyntaxError, ZeroDivisionError) as error:
        raise Refused(f"{expression!r} cannot be worked out: {error}") from error


def _worked_out(node: ast.expr) -> float:
    if isinstance(node, ast.Constant) and type(node.value) in {int, float}:
        return float(node.value)  # type: ignore[arg-type]  # it is a number
    if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        return float(_ARITHMETIC[type(node.op)](_worked_out(node.left), _worked_out(node.right)))
    if isinstance(node, ast.UnaryOp) and type(node.op) in _ARITHMETIC:
        return float(_ARITHMETIC[type(node.op)](_worked_out(node.operand)))
    raise Refused(f"{ast.unparse(node)!r} is no arithmetic")


@reading
def transfer_to_human_agents(ctx: Context, summary: str) -> str:
    """Pass the customer on to a person, with a summary of what is wanted."""
    return "passed on"


@writing
def cancel_pending_order(
    ctx: Context, order_id: str, reason: Literal["no longer needed", "ordered by mistake"]
) -> dict[str, Any]:
    """Cancel a pending order, and pay back what was paid the way it was paid."""
    shop = ctx.resource(Shop)
    order = shop.order(order_id, "pending")
    paid: list[Record] = order["payment_history"]
    refunds: list[Record] = [{**payment, "transaction_type": "refund"} for payment in paid]
    for refund in refunds:
        shop.move_money(order["user_id"], refund["payment_method_id"], refund["amount"])
    history = [*paid, *refunds]
    changed = {**order, "status": "cancelled", "cancel_reason": reason, "payment_history": history}
    return shop.put("orders", order_id, changed)


@writing
def modify_pending_order_address(
    ctx: Context,
    order_id: str,
    address1: str,
    address2: str,
    city: str,
    state: str,
    country: str,
    zip: str,  # noqa: A002
) -> dict[str, Any]:
    """Send a pending order to another address."""
    shop = ctx.resource(Shop)
    order = shop.order(order_id, "pending")
    address = _address(address1, address2, city, state, country, zip)
    return shop.put("orders", order_id, {**order, "address": address})


def _address(address1: str, address2: str, city: str, state: str, country: str, code: str) -> Record:
    place = {"city": city, "state": state, "country": country, "zip": code}
    return {"address1": address1, "address2": address2, **place}


@writing
def modify_user_address(
    ctx: Context,
    user_id: str,
    address1: str,
    address2: str,
    city: str,
    state: str,
    country: str,
    zip: str,  # noqa: A002
) -> dict[str, Any]:
    """Change the address a user has by default."""
    shop = ctx.resource(Shop)
    user = shop.get("users", user_id)
    address = _address(address1, address2, city, state, country, zip)
    return shop.put("users", user_id, {**user, "address": address})


@writing
def modify_pending_order_payment(ctx: Context, order_id: str, payment_method_id: str) -> dict[str, Any]:
    """Have a pending order paid in another way: the one payment there was is paid back."""
    shop = ctx.resource(Shop)
    order = shop.order(order_id, "pending")
    paid = order["payment_history"]
    if len(paid) != 1 or paid[0]["payment_method_id"] == payment_method_id:
        raise Refused(f"{order_id} cannot be paid with {payment_method_id} instead")
    amount, user = paid[0]["amount"], order["user_id"]
    shop.move_money(user, payment_method_id, -amount)
    shop.move_money(user, paid[0]["payment_method_id"], amount)
    moves = [_payment("payment", amount, payment_method_id), {**paid[0], "transaction_type": "refund"}]
    return shop.put("orders", order_id, {**order, "payment_history": [*paid, *moves]})


def _payment(kind: str, amount: float, method: str) -> Record:
    return {"transaction_type": kind, "amount": amount, "payment_method_id": method}


@writing
def modify_pending_order_items(
    ctx: Context, order_id: str, item_ids: list[str], new_item_ids: list[str], payment_method_id: str
) -> dict[str, Any]:
    """Put other variants of the same products into a pending order; this can be done once.

    Args:
        item_ids: What to take out; what is there twice may be named twice.
        new_item_ids: What to put in, in the same order.
        payment_method_id: What the difference is paid with, or paid back to.
    """
    shop = ctx.resource(Shop)
    order = shop.order(order_id, "pending")
    pairs = swaps(shop, order, item_ids, new_item_ids)
    more = difference(pairs)
    shop.move_money(order["user_id"], payment_method_id, -more)
    last = pairs[-1][1]
    for item, variant in pairs:
        # This shop writes price and options of the last variant to all of them.
        item.update(item_id=variant["item_id"], price=last["price"], options=last["options"])
    paid = _payment("payment" if more > 0 else "refund", abs(more), payment_method_id)
    history = [*order["payment_history"], paid]
    return shop.put(
        "orders", order_id, {**order, "status": "pending (item modified)", "payment_history": history}
    )


@writing
def exchange_delivered_order_items(
    ctx: Context, order_id: str, item_ids: list[str], new_item_ids: list[str], payment_method_id: str
) -> dict[str, Any]:
    """Exchange items of a delivered order for other variants of the same products.

    Args:
        item_ids: What is sent back.
        new_item_ids: What is sent instead, in the same order.
        payment_method_id: What the difference will be paid with, or paid back to.
    """
    shop = ctx.resource(Shop)
    order = shop.order(order_id, "delivered")
    more = round(difference(swaps(shop, order, item_ids, new_item_ids)), 2)
    method = shop.payment_method(order["user_id"], payment_method_id)
    if method.get("balance", more) < more:
        raise Refused(f"{payment_method_id} has {method['balance']}, and {more} are needed")
    wanted = {"exchange_items": sorted(item_ids), "exchange_new_items": sorted(new_item_ids)}
    paid = {"exchange_payment_method_id": payment_method_id, "exchange_price_difference": more}
    return shop.put("orders", order_id, {**order, "status": "exchange requested", **wanted, **paid})


@writing
def return_delivered_order_items(
    ctx: Context, order_id: str, item_ids: list[str], payment_method_id: str
) -> dict[str, Any]:
    """Take items of a delivered order back; what they cost goes where it came from, or on a gift card."""
    shop = ctx.resource(Shop)
    order = shop.order(order_id, "delivered")
    taken_out(order, item_ids)
    source = shop.payment_method(order["user_id"], payment_method_id)["source"]
    if source != "gift_card" and payment_method_id != order["payment_history"][0]["payment_method_id"]:
        raise Refused(f"what {order_id} cost is not paid back to {payment_method_id}")
    changed = {"return_items": sorted(item_ids), "return_payment_method_id": payment_method_id}
    return shop.put("orders", order_id, {**order, "status": "return requested", **changed})


LOOKING: Final = (
    find_user_id_by_email,
    find_user_id_by_name_zip,
    get_user_details,
    get_order_details,
    get_product_details,
    calculate,
    transfer_to_human_agents,
)
WRITING: Final = (
    cancel_pending_order,
    modify_pending_order_address,
    modify_user_address,
    modify_pending_order_payment,
    modify_pending_order_items,
    exchange_delivered_order_items,
    return_delivered_order_items,
)
WRITE_NAMES: Final = frozenset(one.name for one in WRITING)
