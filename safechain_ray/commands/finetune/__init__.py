"""The finetune command: from a config to a model in a folder, with a record."""
