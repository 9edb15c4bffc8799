"""Hostile input by the thousand: files and requests that nobody should send, and what is made of them."""
