"""What a node has to do, one duty per file; roles compose them, and they never import a role."""
