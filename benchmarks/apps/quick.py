"""A runner that answers at once, or after the seconds it is asked for: what is left is the platform."""

import asyncio

import fal
from pydantic import BaseModel


class Order(BaseModel):
    seconds: float = 0.0


class Quick(fal.App):
    machine_type = "S"
    app_name = "quick"

    @fal.endpoint("/")
    async def answer(self, order: Order) -> Order:
        await asyncio.sleep(order.seconds)
        return order
