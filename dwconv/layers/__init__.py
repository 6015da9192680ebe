"""The layer, the model and one concern of them in each file. Users import them from `dwconv`."""
