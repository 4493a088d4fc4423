"""Where bytes come from: the Hub, plain HTTPS, a BitTorrent swarm, local folders."""
