"""The service of ZeroNode: uptime of browsers, its points, tickets and draws."""
