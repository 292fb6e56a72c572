"""The rendered underwater world: `frame` renders a picture of it. Nothing here knows of files or of learning."""
