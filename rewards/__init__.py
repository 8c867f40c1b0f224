"""What good work is: reward functions and how they add up. Nothing in here imports torch."""

from .call import UNDECIDED, Failure, Scored
from .compose import gate, total
from .core import Reward, as_reward, group_reward, reward

__all__ = ["UNDECIDED", "Failure", "Reward", "Scored", "as_reward", "gate", "group_reward", "reward", "total"]
