"""Workers that train together on Ray: placement, start, restart, and events for the driver."""
