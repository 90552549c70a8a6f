"""Being a guest on the web: addresses, robots.txt, politeness, opt-outs, a client with hard limits."""
