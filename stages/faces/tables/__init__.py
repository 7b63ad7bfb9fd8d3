"""The files that stages hand to each other, with the functions that read and check them."""
