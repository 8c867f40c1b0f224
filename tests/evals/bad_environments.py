"""Environments with tools, each with one mistake that whole episodes show; and one without."""

from __future__ import annotations

import json
import time

from journeyman.envs.core import EnvironmentFailed, Generated, Limits
from journeyman.rewards import reward


def call(tool, **arguments):
    """A tool call as chat templates have it."""
    return f"<tool_call>\n{json.dumps({'name': tool, 'arguments': arguments})}\n</tool_call>"


class Vault(Generated):
    """Find out a code, then open the vault with it. Nothing is wrong here."""

    limits = Limits(turns=5)

    def generate(self, rng):
        name, code = f"vault-{rng.randrange(10**6)}", str(rng.randrange(10**5, 10**6))
        return {"prompt": f"Open {name}.", "name": name, "code": code}

    def reset(self, **row):
        self.row, self.opened, self.tries = row, False, 0

    def look(self, name: str) -> str:
        """Look a vault up.

        Args:
            name: The vault's name.
        """
        return self.row["code"] if name == self.row["name"] else "there is no such vault"

    def submit(self, code: str) -> str:
        """Try a code.

        Args:
            code: Six digits.
        """
        self.tries += 1
        self.opened = self.opened or code == self.row["code"]
        return "open" if self.opened else "it stays shut"

    def get_reward(self) -> float:
        return float(self.opened)

    def oracle_turn(self, row, messages):
        replies = [message["content"] for message in messages if message["role"] == "tool"]
        if not replies:
            return call("look", name=row["name"])
        return call("submit", code=replies[0]) if len(replies) == 1 else "It is open."

    def oracle(self, row):
        return self.oracle_turn(row, row["prompt"])


class Leaves(Vault):
    """Once open, it stays open for the next task."""

    opened = False

    def reset(self, **row):
        self.row, self.tries = row, 0


class Shares(Vault):
    """All vaults of a process are at the same task."""

    now: dict = {}

    def reset(self, **row):
        super().reset(**row)
        Shares.now = row

    def look(self, name: str) -> str:
        """Look a vault up.

        Args:
            name: The vault's name.
        """
        return Shares.now["code"]


class PaysPatience(Vault):
    """Takes off for wrong codes, and so pays whoever tries none."""

    def get_reward(self) -> float:
        return 1.0 if self.opened else max(0.0, 0.8 - 0.4 * self.tries)


class PaysTrying(Vault):
    """Any try is as good as another."""

    def get_reward(self) -> float:
        return float(self.tries > 0)


class Tells(Vault):
    """Says what the code would have been, and lets one try again."""

    def submit(self, code: str) -> str:
        """Try a code.

        Args:
            code: Six digits.
        """
        return super().submit(code) + f"; the code is {self.row['code']}."


class Writes(Vault):
    """A report is to be handed in; whether it says anything is not looked at."""

    report: str | None = None

    def reset(self, **row):
        super().reset(**row)
        self.report = None

    def submit(self, text: str) -> str:
        """Hand in the report.

        Args:
            text: The report.
        """
        self.report = text
        return "thank you"

    def get_reward(self) -> float:
        return float(self.report is not None and self.looked)

    looked = False

    def look(self, name: str) -> str:
        """Look a vault up.

        Args:
            name: The vault's name.
        """
        self.looked = name == self.row["name"]
        return super().look(name)

    def oracle_turn(self, row, messages):
        said = super().oracle_turn(row, messages)
        return (
            call("submit", text=f"Report\nThe code of {row['name']} is {row['code']}.") if '"submit"' in said else said
        )


class Fragile(Vault):
    """Breaks where a code is no text of digits: who knows that is never judged."""

    def submit(self, code: str) -> str:
        """Try a code.

        Args:
            code: Six digits.
        """
        if not str(code).isascii():
            raise EnvironmentFailed("the vault is broken")
        return super().submit(code)


class Sleeps(Vault):
    """Never comes back from an empty name."""

    def look(self, name: str) -> str:
        """Look a vault up.

        Args:
            name: The vault's name.
        """
        while not name:
            time.sleep(1)
        return super().look(name)


class Untaught(Vault):
    """Nobody knows what is right here."""

    def oracle_turn(self, row, messages):
        raise NotImplementedError("no oracle was written")


class Asynchronous(Vault):
    """A tool that waits."""

    async def look(self, name: str) -> str:
        """Look a vault up.

        Args:
            name: The vault's name.
        """
        return self.row["code"] if name == self.row["name"] else "there is no such vault"


@reward(needs_reference=False)
def opened(environment: object) -> float:
    """What the environment says."""
    return environment.get_reward()


@reward
def second_message(messages: list, code: str) -> float:
    """Takes the third message for the call that opened the vault."""
    calls = messages[2].get("tool_calls") if len(messages) > 2 else None
    return float(bool(calls) and calls[0]["function"]["arguments"].get("code") == code)


@reward
def any_call(messages: list, code: str) -> float:
    """Any call that opened the vault."""
    calls = [call for message in messages for call in message.get("tool_calls", ())]
    return float(any(call["function"]["arguments"].get("code") == code for call in calls))
