"""Pressroom: bulk image compression, from a CSV of URLs to a CSV of smaller images."""
