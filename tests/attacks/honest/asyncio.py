# what: an event loop
# form: calls
# tests: [{"call": [[1, 2, 3]], "expect": [2, 4, 6]}]
import asyncio

async def double(n):
    await asyncio.sleep(0.001)
    return 2 * n

async def all_of(numbers):
    return await asyncio.gather(*(double(n) for n in numbers))

def solve(numbers):
    return asyncio.run(all_of(numbers))
