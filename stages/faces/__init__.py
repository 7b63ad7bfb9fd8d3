"""The code behind the stages, in packages; docs/architecture.md says what lies where."""
