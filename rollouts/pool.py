"""Environments of the rollouts under way: one each where they keep state, made once and reset often."""

from __future__ import annotations

import logging

from ..envs.core import Environment, keeps_state
from .tools import busy

log = logging.getLogger(__name__)


class Pool:
    """Hands out environments like `env`, and takes them back.

    One that keeps no state is shared by all rollouts.
    """

    def __init__(self, env: Environment) -> None:
        self.env, self.shared = env, not keeps_state(env)
        self._idle: list[Environment] = []
        self._leaving: list[Environment] = []

    def take(self) -> Environment:
        """One that nobody else has."""
        if self.shared:
            return self.env
        self._let_go()
        return self._idle.pop() if self._idle else self.env.another()

    def give(self, env: Environment) -> None:
        """Back for the next rollout, which resets it; one that a slow tool still works in is closed by then."""
        if not self.shared:
            (self._leaving if busy(env) else self._idle).append(env)

    def discard(self, env: Environment) -> None:
        """Close one that failed."""
        if not self.shared:
            _closed(env)

    def close(self) -> None:
        """Close all that were made."""
        self._leaving += self._idle
        self._idle = []
        self._let_go()

    def _let_go(self) -> None:
        """Close those that leave: not earlier, for a reward may have been reading them."""
        leaving, self._leaving = self._leaving, []
        for env in leaving:
            _closed(env)


def _closed(env: Environment) -> None:
    try:
        env.close()
    except Exception as error:  # one that fails to close keeps no other from it
        log.warning("an environment failed to close: %s: %s", type(error).__name__, error)
