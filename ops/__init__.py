"""What runs the system elsewhere: images, alerts, backup, audit."""
