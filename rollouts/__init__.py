"""A policy works a job: engines, the chat between them, and the record of what happened."""
