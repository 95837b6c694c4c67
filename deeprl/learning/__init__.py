"""What is learned and how: values, backups, networks, the parts of an agent, and the three agents that they make."""
