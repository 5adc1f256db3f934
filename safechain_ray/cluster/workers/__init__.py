"""The actors and tasks of the stream: engines that generate, judge and prefer, and what keeps rows safe from them."""
