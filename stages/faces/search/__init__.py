"""Neighbours of embeddings: LSH, FAISS indexes, and copies by thumbnails."""
