"""The sweep command: cost estimate, scheduler and record of many models, each a run of its own."""
