"""What makes the pictures and tables of the pages, and the page of `dvc plots`; and the pipeline without DVC."""
