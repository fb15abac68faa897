"""Training the image backbone on folders of labelled patches."""
