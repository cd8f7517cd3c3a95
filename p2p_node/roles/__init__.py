"""What a node can be. Each role composes duties; none imports another."""
