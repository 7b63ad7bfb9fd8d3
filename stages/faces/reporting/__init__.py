"""Tables, plots and the report page, made from metrics."""
