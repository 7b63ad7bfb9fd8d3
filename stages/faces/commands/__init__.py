"""The command `faces`, a module for each of its commands."""
