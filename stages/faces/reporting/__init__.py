"""Tables, plots and pages of what the stages measured."""
