"""What good work is: reward functions and how they add up. Nothing in here imports torch."""

from .core import Reward, as_reward, reward

__all__ = ["Reward", "as_reward", "reward"]
