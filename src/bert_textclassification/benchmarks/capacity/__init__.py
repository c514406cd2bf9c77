"""From measured service times to the number and the cost of machines."""
