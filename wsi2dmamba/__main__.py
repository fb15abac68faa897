"""`python -m wsi2dmamba` is the `wsi2dmamba` command."""

from wsi2dmamba.cli import main

if __name__ == "__main__":
    main()
