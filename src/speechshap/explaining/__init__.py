"""What ties the rooms together: targets as text, the runner, its Lightning callback and its Python face."""
