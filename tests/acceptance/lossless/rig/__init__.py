"""What the acceptance tests drive: the container host, the playbooks, the load, and the report."""
