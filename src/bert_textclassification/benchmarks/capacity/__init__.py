"""Capacity planning: from measured service times to the number and the cost of instances."""
