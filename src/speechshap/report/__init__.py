"""What people see and hear of an explanation."""
