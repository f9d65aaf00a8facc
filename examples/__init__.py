"""Small programs that use the layers in larger models. Run them from the root of the repository."""
